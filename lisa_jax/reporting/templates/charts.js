// Line charts: see lisa_jax/reporting/curves.py for what a chart is.

const COLOURS = 7;
const MARKS = ["circle", "square", "triangle", "diamond", "cross"];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2", "1 2"];
const SHOWN_AT_FIRST = 5;
let charts = 0;

function colourOf(series) {
  return series.style === 0 ? "var(--plain)" : `var(--arm-${((series.style - 1) % COLOURS) + 1})`;
}

function dashOf(series) {
  return series.kind === "decoder" ? "2 4" : DASHES[series.style % DASHES.length];
}

function mark(series, x, y, size) {
  const kind = MARKS[series.style % MARKS.length];
  const fill = series.kind === "decoder" ? "var(--card)" : colourOf(series);
  const common = { fill, stroke: colourOf(series), "stroke-width": 1.5 };
  if (kind === "circle") return svg("circle", { cx: x, cy: y, r: size, ...common });
  const path = {
    square: `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    triangle: `M${x} ${y - size * 1.2}l${size * 1.2} ${size * 2}h${-size * 2.4}z`,
    diamond: `M${x} ${y - size * 1.35}l${size * 1.35} ${size * 1.35}l${-size * 1.35} ${size * 1.35}l${-size * 1.35} ${-size * 1.35}z`,
    cross: `M${x - size} ${y - size}l${2 * size} ${2 * size}M${x + size} ${y - size}l${-2 * size} ${2 * size}`,
  }[kind];
  return svg("path", { d: path, ...common });
}

class LineChart {
  constructor(figure) {
    this.figure = figure;
    this.spec = specOf(figure);
    this.id = `chart-${++charts}`;
    this.state = { setting: 0, measure: 0, axis: "steps", view: "values", band: "sd", log: false, bounds: false, hidden: new Set() };
    this.at = null;
    this.controls = element("div", { class: "controls" });
    this.legend = element("div", { class: "legend", role: "group", "aria-label": "Curves" });
    this.plot = element("div", { class: "plot" });
    this.tip = element("div", { class: "tip", id: `${this.id}-tip`, role: "status", hidden: "" });
    this.outside = element("p", { class: "note" });
    this.values = element("details", {}, element("summary", {}, "These values as a table"));
    this.values.addEventListener("toggle", () => this.fillTable());
    figure.append(this.controls, this.legend, element("div", { class: "stage" }, this.plot, this.tip), this.outside, this.values);
    this.hideSurplus();
    this.build();
    let width = 0;
    new ResizeObserver(() => {
      if (this.plot.clientWidth !== width) {
        width = this.plot.clientWidth;
        this.draw();
      }
    }).observe(this.plot);
  }

  get setting() {
    return this.spec.settings[this.state.setting];
  }

  get measure() {
    return this.spec.measures[this.state.measure];
  }

  set(change) {
    Object.assign(this.state, change);
    this.at = null;
    if ("setting" in change) this.hideSurplus();
    this.build();
    this.draw();
  }

  // With many curves, those of the first arms are drawn and the others wait in the legend.
  hideSurplus() {
    this.state.hidden = new Set(this.setting.series.slice(SHOWN_AT_FIRST).map((series) => series.label));
  }

  baseline() {
    return this.setting.series.find((series) => series.kind === "plain");
  }

  scaleOf(series) {
    return this.state.axis === "steps" ? 1 : series[this.state.axis];
  }

  build() {
    const { spec, state } = this;
    const focused = [...this.controls.querySelectorAll("select, input")].indexOf(document.activeElement);
    const fields = [];
    if (spec.settings.length > 1) {
      fields.push(selectField("Setting", spec.settings.map((one, i) => [i, one.label]), state.setting, (value) => this.set({ setting: +value })));
    }
    if (spec.measures.length > 1) {
      fields.push(selectField("Measure", spec.measures.map((one, i) => [i, one.label]), state.measure, (value) => this.set({ measure: +value })));
    }
    const axes = [["steps", "training steps"]];
    for (const [key, label] of [["seconds", "seconds of training"], ["flops", "FLOPs of training"]]) {
      if (this.setting.series.every((series) => series[key])) axes.push([key, label]);
    }
    if (!axes.some((axis) => axis[0] === state.axis)) state.axis = "steps";
    if (axes.length > 1) fields.push(selectField("Across", axes, state.axis, (value) => this.set({ axis: value })));
    const comparable = this.baseline() && this.setting.series.some((series) => series !== this.baseline() && series.kind === "lisa");
    if (!comparable) state.view = "values";
    if (comparable) {
      const views = [["values", "values"], ["difference", "minus plain, same seed"]];
      fields.push(selectField("Show", views, state.view, (value) => this.set({ view: value })));
    }
    if (this.setting.series.some((series) => series.seeds.length > 1)) {
      const bands = [["sd", "± standard deviation"], ["range", "lowest to highest"], ["none", "none"]];
      fields.push(selectField("Band", bands, state.band, (value) => this.set({ band: value })));
    }
    fields.push(this.checkbox("logarithmic", "log"));
    if (this.references().length && state.view === "values") fields.push(this.checkbox("with floor and ceiling", "bounds"));
    this.controls.replaceChildren(...fields);
    if (focused >= 0) this.controls.querySelectorAll("select, input")[focused]?.focus();
    this.buildLegend();
  }

  checkbox(label, name) {
    const box = element("input", { type: "checkbox" });
    box.checked = this.state[name];
    box.addEventListener("change", () => this.set({ [name]: box.checked }));
    return element("label", { class: "field check" }, box, label);
  }

  references() {
    return this.setting.references[this.measure.key] || [];
  }

  buildLegend() {
    const unfolded = this.legend.querySelector("details")?.open;
    const buttons = this.setting.series.map((series) => {
      const on = !this.state.hidden.has(series.label);
      const line = svg("line", { x1: 1, x2: 31, y1: 7, y2: 7, stroke: colourOf(series), "stroke-width": 2.5, "stroke-dasharray": dashOf(series) });
      const swatch = svg("svg", { width: 32, height: 14, "aria-hidden": "true" }, line, mark(series, 16, 7, 3.5));
      const count = series.seeds.length;
      const button = element("button", { type: "button", "aria-pressed": on }, swatch, `${series.label}${count > 1 ? ` (${count} seeds)` : ""}`);
      button.addEventListener("click", () => {
        this.state.hidden[on ? "add" : "delete"](series.label);
        const index = [...this.legend.querySelectorAll("button")].indexOf(button);
        this.buildLegend();
        this.legend.querySelectorAll("button")[index].focus();
        this.draw();
      });
      return button;
    });
    const more = buttons.splice(SHOWN_AT_FIRST);
    this.legend.replaceChildren(...buttons);
    if (!more.length) return;
    const fold = element("details", {}, element("summary", {}, `${more.length} more curve${more.length === 1 ? "" : "s"}`), ...more);
    fold.open = Boolean(unfolded);
    this.legend.append(fold);
  }

  // Curves to draw in a panel, with x in the chosen unit.
  curves(panel) {
    const key = this.measure.key + panel.suffix;
    const difference = this.state.view === "difference";
    return this.setting.series
      .filter((series) => !this.state.hidden.has(series.label) && !(difference && series === this.baseline()))
      .map((series) => ({ series, scale: this.scaleOf(series), points: byStep(series, key, difference ? this.baseline() : null) }))
      .filter((curve) => curve.points.length);
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    const { panels } = this.spec;
    const columns = panels.length === 1 ? 1 : width > 900 ? 4 : width > 460 ? 2 : 1;
    this.plot.style.setProperty("--columns", columns);
    const size = (width - 16 * (columns - 1)) / columns;
    const all = panels.map((panel) => this.curves(panel));
    const range = this.range(all.flat());
    this.panels = panels.map((panel, i) => this.drawPanel(panel, all[i], range, size, panels.length > 1));
    this.plot.replaceChildren(...this.panels.map((panel) => panel.node));
    const outside = range ? range.outside : [];
    this.outside.textContent = outside.length ? `Not in the picture: ${outside.map((line) => `${line.label} ${asText(line.value)}`).join(", ")}.` : "";
    this.tip.hidden = true;
    this.fillTable();
  }

  range(curves) {
    const points = curves.flatMap((curve) => curve.points.map((point) => ({ ...point, x: point.step * curve.scale })));
    if (!points.length) return null;
    const { band, view, log } = this.state;
    const low = (point) => Math.min(point.low, band === "sd" ? point.mean - point.sd : point.low);
    const high = (point) => Math.max(point.high, band === "sd" ? point.mean + point.sd : point.high);
    const logarithmic = log && view === "values" && points.every((point) => point.low > 0);
    let bottom = Math.min(...points.map(logarithmic ? (point) => point.low : low));
    let top = Math.max(...points.map(high));
    // Ceilings and floors that are far away would flatten the curves: those are drawn on demand.
    const far = 0.5 * (top - bottom);
    const [references, outside] = [[], []];
    for (const line of view === "values" ? this.references() : []) {
      const near = line.value > bottom - far && line.value < top + far;
      const shown = (near || this.state.bounds) && !(logarithmic && line.value <= 0);
      (shown ? references : outside).push(line);
    }
    bottom = Math.min(bottom, ...references.map((line) => line.value));
    top = Math.max(top, ...references.map((line) => line.value));
    if (view === "difference") [bottom, top] = [Math.min(bottom, 0), Math.max(top, 0)];
    const room = (top - bottom || Math.abs(top) || 1) * 0.05;
    if (!logarithmic) [bottom, top] = [bottom - room, top + room];
    if (logarithmic) [bottom, top] = [bottom / 1.05, top * 1.05];
    return { right: Math.max(...points.map((point) => point.x)), bottom, top, logarithmic, references, outside };
  }

  drawPanel(panel, curves, range, width, small) {
    const height = small ? 200 : Math.min(400, Math.max(260, width * 0.42));
    const edge = { left: 60, right: 14, top: small ? 26 : 12, bottom: 38 };
    const axis = { steps: "training steps", seconds: "seconds of training", flops: "FLOPs of training" }[this.state.axis];
    const difference = this.state.view === "difference";
    const what = `${this.measure.label}${difference ? ", minus plain" : ""}`;
    const node = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "img", "aria-describedby": this.tip.id,
      "aria-label": `${this.spec.title}${panel.title ? `, ${panel.title}` : ""}: ${what} against ${axis}. ` +
        `${curves.map((curve) => `${curve.series.label} ends at ${spreadText(curve.points.at(-1), difference)}`).join("; ")}. Arrow keys read the values.`,
    });
    if (panel.title) node.append(svg("text", { x: edge.left, y: 14, class: "panel" }, panel.title));
    if (!range || !curves.length) {
      node.append(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "no values"));
      return { node, curves: [] };
    }
    const inner = { width: width - edge.left - edge.right, height: height - edge.top - edge.bottom };
    const place = range.logarithmic ? Math.log : (value) => value;
    const x = (value) => edge.left + (inner.width * value) / range.right;
    const y = (value) => edge.top + (inner.height * (place(range.top) - place(value))) / (place(range.top) - place(range.bottom));
    for (const tick of ticksOf(range.bottom, range.top, 6, range.logarithmic)) {
      node.append(svg("line", { x1: edge.left, x2: width - edge.right, y1: y(tick), y2: y(tick), class: difference && Math.abs(tick) < 1e-12 ? "zero" : "grid" }));
      node.append(svg("text", { x: edge.left - 7, y: y(tick) + 4, "text-anchor": "end" }, asText(tick, difference)));
    }
    for (const tick of ticksOf(0, range.right, Math.max(4, Math.min(8, inner.width / 70)))) {
      node.append(svg("text", { x: x(tick), y: height - edge.bottom + 17, "text-anchor": "middle" }, asText(tick)));
    }
    node.append(svg("text", { x: edge.left + inner.width / 2, y: height - 4, "text-anchor": "middle" }, axis));
    node.append(svg("line", { x1: edge.left, x2: width - edge.right, y1: edge.top + inner.height, y2: edge.top + inner.height, class: "axis" }));
    this.drawReferences(node, range.references, x(range.right), y, edge.left);
    for (const curve of curves) this.drawCurve(node, curve, x, y);
    const cross = svg("line", { y1: edge.top, y2: edge.top + inner.height, class: "cross", visibility: "hidden" });
    node.append(cross);
    const steps = [...new Set(curves.flatMap((curve) => curve.points.map((point) => point.step * curve.scale)))].sort((a, b) => a - b);
    const drawn = { node, curves, x, cross, steps, panel };
    const nearest = (event) => {
      const at = ((event.clientX - node.getBoundingClientRect().left - edge.left) / inner.width) * range.right;
      this.point(drawn, steps.reduce((best, step) => (Math.abs(step - at) < Math.abs(best - at) ? step : best)));
    };
    node.addEventListener("pointermove", nearest);
    node.addEventListener("pointerdown", nearest);
    node.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.point(drawn, null));
    node.addEventListener("blur", () => this.point(drawn, null));
    node.addEventListener("keydown", (event) => this.key(event, drawn));
    return drawn;
  }

  drawReferences(node, lines, right, y, left) {
    let last = Infinity;
    // Above all of the lines, so that none runs through a label.
    const labels = svg("g", {});
    for (const line of [...lines].sort((a, b) => a.value - b.value)) {
      // Labels of lines that lie close together are stacked.
      const height = Math.min(y(line.value) - 4, last - 13);
      last = height;
      node.append(svg("line", { x1: left, x2: right, y1: y(line.value), y2: y(line.value), class: "reference" }));
      labels.append(svg("text", { x: right, y: height, "text-anchor": "end", class: "halo" }, `${line.label} ${asText(line.value)}`));
    }
    node.append(labels);
  }

  drawCurve(node, { series, scale, points }, x, y) {
    const colour = colourOf(series);
    const path = (values) => values.map(([step, value], i) => `${i ? "L" : "M"}${x(step * scale).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const { band } = this.state;
    if (band !== "none" && points.some((point) => point.n > 1)) {
      const upper = points.map((point) => [point.step, band === "sd" ? point.mean + point.sd : point.high]);
      const lower = points.map((point) => [point.step, band === "sd" ? point.mean - point.sd : point.low]).reverse();
      const outline = path(upper) + path(lower).replace("M", "L") + "z";
      if (!outline.includes("NaN")) node.append(svg("path", { d: outline, fill: colour, class: "band" }));
    }
    const several = series.seeds.length > 1;
    if (several) {
      for (const run of new Set(points.flatMap((point) => point.seeds.map((pair) => pair[0])))) {
        const line = points.flatMap((point) => point.seeds.filter((pair) => pair[0] === run).map((pair) => [point.step, pair[1]]));
        node.append(svg("path", { d: path(line), stroke: colour, class: "seed", "data-seed": run }));
      }
    }
    node.append(svg("path", { d: path(points.map((point) => [point.step, point.mean])), stroke: colour, "stroke-dasharray": dashOf(series), class: "mean" }));
    const every = Math.ceil(points.length / 16);
    points.forEach((point, i) => {
      if (i % every === 0 || i === points.length - 1) node.append(mark(series, x(point.step * scale), y(point.mean), 3));
    });
  }

  key(event, drawn) {
    const { steps } = drawn;
    const index = steps.indexOf(this.at);
    const to = { ArrowRight: Math.min(index + 1, steps.length - 1), ArrowLeft: index < 0 ? steps.length - 1 : Math.max(index - 1, 0), Home: 0, End: steps.length - 1 }[event.key];
    if (event.key === "Escape") this.point(drawn, null);
    if (to === undefined) return;
    event.preventDefault();
    this.point(drawn, steps[to]);
  }

  // Show the values at a place on the x axis; null: none.
  point(drawn, at) {
    this.at = at;
    this.tip.hidden = at === null;
    drawn.cross.setAttribute("visibility", at === null ? "hidden" : "visible");
    if (at === null) return;
    drawn.cross.setAttribute("x1", drawn.x(at));
    drawn.cross.setAttribute("x2", drawn.x(at));
    const difference = this.state.view === "difference";
    const unit = { steps: (value) => `step ${asText(value)}`, seconds: (value) => `${asText(value)} seconds`, flops: (value) => `${asText(value)} FLOPs` }[this.state.axis];
    const lines = drawn.curves.map(({ series, scale, points }) => {
      const near = points.reduce((best, point) => (Math.abs(point.step * scale - at) < Math.abs(best.step * scale - at) ? point : best));
      const swatch = svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, mark(series, 7, 7, 4));
      const away = Math.abs(near.step * scale - at) > 1e-9 * at ? ` (at ${unit(near.step * scale)})` : "";
      const seeds = near.n > 1 ? element("small", {}, near.seeds.map(([seed, value]) => `seed ${seed}: ${asText(value, difference)}`).join(", ")) : "";
      return element("p", {}, swatch, `${series.label}: `, element("b", {}, spreadText(near, difference)), away, seeds);
    });
    const title = drawn.panel.title ? `${drawn.panel.title}, ${unit(at)}` : unit(at);
    this.tip.replaceChildren(element("p", { class: "at" }, title), ...lines);
    const stage = this.plot.getBoundingClientRect();
    const box = drawn.node.getBoundingClientRect();
    const left = box.left - stage.left + drawn.x(at);
    const width = this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(left > stage.width / 2 ? left - width - 12 : left + 12, stage.width - width))}px`;
    this.tip.style.top = `${box.top - stage.top + 8}px`;
  }

  fillTable() {
    if (!this.values.open) return;
    const difference = this.state.view === "difference";
    const blocks = this.panels.filter((panel) => panel.curves.length).map(({ panel, curves }) => {
      const steps = [...new Set(curves.flatMap((curve) => curve.points.map((point) => point.step)))].sort((a, b) => a - b);
      const head = element("tr", {}, element("th", { scope: "col" }, "step"), ...curves.map((curve) => element("th", { scope: "col", class: "number" }, curve.series.label)));
      const body = steps.map((step) => element("tr", {}, element("th", { scope: "row" }, String(step)), ...curves.map((curve) => {
        const point = curve.points.find((one) => one.step === step);
        return element("td", {}, point ? spreadText(point, difference) : "–");
      })));
      const caption = element("caption", {}, [this.measure.label, panel.title, this.setting.label].filter(Boolean).join(", "));
      const table = element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...body));
      return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption.textContent }, table);
    });
    this.values.replaceChildren(this.values.firstElementChild, ...blocks);
  }
}

document.querySelectorAll("figure.chart").forEach((figure) => new LineChart(figure));
