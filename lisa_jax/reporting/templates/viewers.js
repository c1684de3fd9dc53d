// Pictures by training step: see lisa_jax/reporting/viewers.py for what a viewer is.

// Show a data URI in a box: in the element that is there where it can, for a new one would flicker.
function put(box, uri, text) {
  const [tag, label] = uri.startsWith("data:video/") ? ["video", "aria-label"] : ["img", "alt"];
  if (box.firstChild?.localName !== tag) {
    box.replaceChildren(element(tag, tag === "video" ? { loop: "", playsinline: "", controls: "" } : {}));
    // What an attribute says counts only where a page is read.
    box.firstChild.muted = true;
  }
  box.firstChild.setAttribute(label, text);
  box.firstChild.src = uri;
  return box;
}

class Viewer {
  constructor(figure) {
    this.spec = specOf(figure);
    this.columns = [...this.spec.columns];
    this.pictures = this.columns.map((run, i) => this.column(i));
    const fixed = Object.entries(this.spec.fixed).map(([name, uri]) => {
      const frame = put(element("div", { class: "frame" }), uri, `${name} of the same examples`);
      return [name, element("div", { class: "shown" }, element("div", { class: "head" }, element("span", {}, name)), frame, element("p", {}, "\u00a0"))];
    });
    const before = fixed.filter(([name]) => name.startsWith("condition")).map((entry) => entry[1]);
    const after = fixed.filter(([name]) => !name.startsWith("condition")).map((entry) => entry[1]);
    this.slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Training step" });
    this.label = element("output", {});
    this.slider.addEventListener("input", () => this.show());
    const grid = element("div", { class: "pictures" }, ...before, ...this.pictures.map((one) => one.node), ...after);
    grid.style.setProperty("--count", grid.children.length);
    const row = element("div", { class: "slide" }, this.slider, this.label);
    figure.append(row, grid);
    this.restep();
  }

  column(index) {
    const select = element("select", { "aria-label": `Run in column ${index + 1}` });
    const groups = new Map();
    this.spec.runs.forEach((run, i) => {
      if (!groups.has(run.group)) groups.set(run.group, element("optgroup", { label: run.group }));
      groups.get(run.group).append(element("option", { value: i }, run.label));
    });
    if (groups.size > 1) select.append(...groups.values());
    else select.append(...[...groups.values()][0].children);
    select.value = this.columns[index];
    select.addEventListener("change", () => {
      this.columns[index] = +select.value;
      this.restep();
    });
    const told = element("p", {});
    const frame = element("div", { class: "frame" });
    return { frame, told, node: element("div", { class: "shown run" }, element("div", { class: "head" }, select), frame, told) };
  }

  // The slider's stops are the steps of the runs on show; it stays at its step where it can, at first at the last one.
  restep() {
    const at = this.steps ? this.steps[+this.slider.value] : Infinity;
    const steps = this.columns.flatMap((run) => this.spec.runs[run].frames.map((frame) => frame.step));
    this.steps = [...new Set(steps)].sort((a, b) => a - b);
    this.slider.max = this.steps.length - 1;
    const next = this.steps.findIndex((step) => step >= at);
    this.slider.value = next < 0 ? this.steps.length - 1 : next;
    this.show();
  }

  show() {
    const step = this.steps[+this.slider.value];
    this.label.textContent = `step ${step.toLocaleString("en")}`;
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    this.columns.forEach((number, i) => {
      const run = this.spec.runs[number];
      // The newest picture that there was at that step.
      const frame = run.frames.filter((one) => one.step <= step).at(-1) || run.frames[0];
      const { frame: box, told } = this.pictures[i];
      put(box, frame.picture, `Samples of ${run.label} at step ${frame.step}`);
      const value = run.told[frame.step];
      const elsewhere = frame.step === step ? "" : `picture of step ${frame.step}`;
      told.textContent = [value && `${this.spec.measure} ${value}`, elsewhere].filter(Boolean).join(", ") || "\u00a0";
    });
  }
}

document.querySelectorAll("figure.viewer").forEach((figure) => new Viewer(figure));

// Small pictures are shown with their pixels.
document.addEventListener("load", (event) => {
  if (event.target.tagName === "IMG") event.target.classList.toggle("small", event.target.naturalWidth < 500);
}, true);

// A list of choices that shows one block beside it.
document.querySelectorAll("select[data-choose]").forEach((select) => {
  const blocks = [...select.closest("figure").querySelectorAll("[data-choice]")];
  const choose = () => blocks.forEach((block) => { block.hidden = block.dataset.choice !== select.value; });
  select.addEventListener("change", choose);
  choose();
});

// Paper does not unfold.
window.addEventListener("beforeprint", () => document.querySelectorAll("details.part").forEach((part) => { part.open = true; }));
