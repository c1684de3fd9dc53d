"use strict";
// Means over seeds, scales and numbers as text.

// Values of one measure of a series by step: [{step, mean, sd, low, high, n, seeds: [[seed, value], ...]}, ...].
function byStep(series, key, baseline) {
  const found = new Map();
  for (const run of series.seeds) {
    const values = run.values[key];
    if (!values) continue;
    let minus = null;
    if (baseline) {
      const partner = baseline.seeds.find((other) => other.seed === run.seed);
      if (!partner || !partner.values[key]) continue;
      minus = new Map(partner.steps.map((step, i) => [step, partner.values[key][i]]));
    }
    run.steps.forEach((step, i) => {
      let value = values[i];
      if (value === null) return;
      if (minus) {
        const other = minus.get(step);
        if (other === undefined || other === null) return;
        value -= other;
      }
      if (!found.has(step)) found.set(step, []);
      found.get(step).push([run.seed, value]);
    });
  }
  return [...found].sort((a, b) => a[0] - b[0]).map(([step, seeds]) => {
    const values = seeds.map((pair) => pair[1]);
    const n = values.length;
    const mean = values.reduce((sum, value) => sum + value, 0) / n;
    const sd = n > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)) : 0;
    return { step, mean, sd, low: Math.min(...values), high: Math.max(...values), n, seeds };
  });
}

// About `count` round numbers from low to high; on a logarithmic axis 1, 2 and 5 times powers of ten.
function ticksOf(low, high, count, logarithmic) {
  if (logarithmic) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const digit of [1, 2, 5]) {
        const value = digit * 10 ** power;
        if (value >= low && value <= high) found.push(value);
      }
    }
    if (found.length > 2) return found;
  }
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = power * [1, 2, 5, 10].find((digit) => digit * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / size - 1e-9); i * size <= high + 1e-9 * size; i++) found.push(i * size);
  return found;
}

function asText(value, difference) {
  const size = Math.abs(value);
  let text;
  if (size >= 1e9) {
    text = value.toExponential(2);
  } else if (size >= 1000) {
    text = Math.round(value).toLocaleString("en");
  } else {
    text = String(+value.toPrecision(4));
  }
  text = text.replace("-", "−");
  return difference && value > 0 ? "+" + text : text;
}

function spreadText(point, difference) {
  const mean = asText(point.mean, difference);
  return point.n > 1 ? `${mean} ± ${asText(point.sd)}` : mean;
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A labelled <select>; options are [value, text].
function selectField(label, options, value, change) {
  const select = element("select");
  for (const [key, text] of options) select.append(element("option", { value: key }, text));
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  return element("label", { class: "field" }, label, select);
}

function specOf(figure) {
  return JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
}
