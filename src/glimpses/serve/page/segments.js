// Segments of a clip on a timeline: jump to them, filter, correct and download them.

import { create, percent, request, save } from "./dom.js";

const FORMATS = {
  csv: "CSV, which glimpses train reads", activitynet: "ActivityNet JSON", "label-studio": "Label Studio JSON",
  via: "VIA CSV", elan: "ELAN", vtt: "WebVTT subtitles", srt: "SubRip subtitles", audacity: "Audacity labels",
};
// Shortest segment that can be made by hand, in seconds.
const SHORTEST = 0.05;
const round = (time) => Math.round(1000 * time) / 1000;
const words = (one) => `${one.label}, ${one.start.toFixed(1)} to ${one.end.toFixed(1)} s${one.score == null ? "" : `, ${percent(one.score)}`}`;

// Editor of the segments of one model. `hue` returns the CSS class of an action's colour; `onseek` goes to
// a time of the clip, `now` returns the current one.
export class SegmentEditor {
  constructor({ clip, result, prediction, classes, formats, hue, onseek, now, onerror }) {
    Object.assign(this, { clip, result, prediction, classes, hue, onseek, now, onerror, hidden: new Set(), least: 0, selected: null });
    this.segments = prediction.segments.map((one) => ({ ...one }));
    this.playhead = create("div", { class: "playhead" });
    this.strip = create("div", { class: "segments", role: "group", "aria-label": "Segments; arrow keys go to the next one", onkeydown: (event) => this.handleKey(event) });
    this.legend = create("fieldset", { class: "legend" });
    this.output = create("output", {}, percent(0));
    this.format = create("select", {}, ...formats.map((format) => create("option", { value: format }, FORMATS[format] ?? format)));
    this.downloadButton = create("button", { type: "button", onclick: () => this.download() });
    this.note = create("p", { class: "small muted", role: "status" });
    this.element = create("div", { class: "segment-editor" },
      create("h4", {}, "Segments"), this.strip,
      create("div", { class: "axis" }, create("span", {}, "0"), create("span", {}, `${result.seconds.toFixed(1)} s`)),
      this.legend,
      create("label", { class: "slider" }, "Confidence from ", create("input", { type: "range", min: 0, max: 100, value: 0, oninput: (event) => this.setLeast(event.target.value / 100) }), this.output),
      this.form(),
      create("p", { class: "actions" }, create("label", {}, "Format ", this.format), this.downloadButton),
      this.note);
    this.draw();
  }

  form() {
    const field = (name, label) => (this[name] = create("input", { type: "number", min: 0, max: this.result.seconds, step: "any", "aria-label": `${label} in seconds`, onchange: (event) => this.move(name.slice(0, -5), event.target.valueAsNumber) }));
    this.label = create("select", { "aria-label": "Action", onchange: () => this.change({ label: this.label.value }) }, ...this.classes.map((name) => create("option", {}, name)));
    const button = (text, onclick) => create("button", { type: "button", onclick }, text);
    this.fields = create("fieldset", { class: "selected", disabled: "" }, create("legend", {}, "Selected segment"),
      create("label", {}, "Action ", this.label),
      create("label", {}, "Start ", field("startField", "Start")),
      create("label", {}, "End ", field("endField", "End")),
      button("Start here", () => this.move("start", this.now())),
      button("End here", () => this.move("end", this.now())),
      button("Remove", () => this.remove()));
    this.resetButton = button("Undo all corrections", () => this.reset());
    return create("div", {}, this.fields, create("p", { class: "actions" },
      button("Previous", () => this.step(-1)), button("Next", () => this.step(1)),
      button("Add a segment here", () => this.add()), this.resetButton));
  }

  get visible() {
    // A corrected segment has no confidence: a person is sure.
    return this.segments.filter((one) => !this.hidden.has(one.label) && (one.score ?? 1) >= this.least);
  }

  // Draw everything, after a change of the segments or of the filters.
  draw() {
    this.segments.sort((one, other) => one.start - other.start || one.end - other.end);
    const { visible } = this;
    if (!visible.includes(this.selected)) this.selected = null;
    const focused = this.strip.contains(document.activeElement);
    // Segments that overlap are below each other.
    const ends = [];
    for (const one of visible) {
      let lane = ends.findIndex((end) => end <= one.start + 1e-6);
      if (lane < 0) lane = ends.length;
      ends[lane] = one.end;
      one.lane = lane;
    }
    this.strip.style.setProperty("--lanes", Math.max(1, ends.length));
    this.blocks = new Map(visible.map((one) => [one, create("button", { type: "button", class: this.hue(one.label), title: words(one), "aria-label": words(one), onclick: () => this.select(one) }, one.label)]));
    for (const [one, block] of this.blocks) this.place(one, block);
    this.handles = ["start", "end"].map((side) => this.handle(side));
    this.strip.replaceChildren(...this.blocks.values(), ...this.handles, this.playhead);
    const names = [...new Set(this.segments.map((one) => one.label))].sort((one, other) => this.classes.indexOf(one) - this.classes.indexOf(other));
    const counts = names.map((name) => this.segments.filter((one) => one.label === name).length);
    // Keep the boxes while they are used.
    if (this.names?.join("\n") !== names.join("\n")) {
      this.names = names;
      this.numbers = names.map(() => create("span", { class: "muted" }));
      this.legend.replaceChildren(create("legend", {}, "Actions"), ...names.map((name, index) => create("label", {},
        create("input", { type: "checkbox", checked: this.hidden.has(name) ? null : "", onchange: (event) => { this.hidden[event.target.checked ? "delete" : "add"](name); this.draw(); } }),
        create("i", { class: `swatch ${this.hue(name)}` }), name, this.numbers[index])));
    }
    this.numbers.forEach((number, index) => (number.textContent = counts[index]));
    this.legend.hidden = !names.length;
    const found = visible.length === 1 ? "1 segment" : `${visible.length} segments`;
    this.downloadButton.textContent = `Download ${found}`;
    this.note.textContent = this.segments.length ? "" : "No action reaches the threshold. Segments can be added by hand.";
    this.resetButton.hidden = !this.edited;
    this.showSelected();
    if (focused) this.blocks.get(this.selected)?.focus({ preventScroll: true });
  }

  place(one, block) {
    const end = this.result.seconds;
    block.style.left = `${100 * one.start / end}%`;
    block.style.width = `${100 * Math.min(end - one.start, one.end - one.start) / end}%`;
    block.style.top = `calc(${one.lane} * var(--lane))`;
  }

  showSelected() {
    const one = this.selected;
    const first = this.blocks.keys().next().value;
    for (const [other, block] of this.blocks) {
      block.setAttribute("aria-pressed", other === one);
      // Tab enters the strip once; arrow keys go on.
      block.tabIndex = other === (one ?? first) ? 0 : -1;
    }
    this.fields.disabled = !one;
    if (one && ![...this.label.options].some((option) => option.value === one.label)) this.label.append(create("option", {}, one.label));
    this.label.value = one?.label ?? this.classes[0];
    this.startField.value = one ? round(one.start) : "";
    this.endField.value = one ? round(one.end) : "";
    this.handles.forEach((handle, index) => {
      handle.hidden = !one;
      if (!one) return;
      handle.style.left = `${100 * (index ? one.end : one.start) / this.result.seconds}%`;
      handle.style.top = `calc(${one.lane} * var(--lane))`;
    });
  }

  // A handle to drag a boundary of the selected segment; the number fields do the same by keyboard.
  handle(side) {
    const handle = create("div", { class: `handle ${side}`, "aria-hidden": "true" });
    handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); event.preventDefault(); });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = this.strip.getBoundingClientRect();
      this.set(side, this.result.seconds * (event.clientX - box.left) / box.width);
      this.place(this.selected, this.blocks.get(this.selected));
      this.showSelected();
      this.onseek(this.selected[side]);
    });
    handle.addEventListener("lostpointercapture", () => this.draw());
    return handle;
  }

  handleKey(event) {
    const offset = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!offset) return;
    event.preventDefault();
    this.step(offset);
    this.blocks.get(this.selected)?.focus({ preventScroll: true });
  }

  // Select the next or the previous segment; without a selection the one nearest to the current time.
  step(offset) {
    const { visible } = this;
    if (!visible.length) return;
    const after = visible.findIndex((one) => one.start > this.now());
    const from = this.selected ? visible.indexOf(this.selected) : (after < 0 ? visible.length : after) - (offset > 0);
    this.select(visible[Math.max(0, Math.min(visible.length - 1, from + offset))]);
  }

  select(one) {
    this.selected = one;
    this.showSelected();
    this.onseek(one.start);
  }

  // Set a boundary of the selected segment, within the clip and not beyond the other boundary.
  set(side, time) {
    const one = this.selected;
    const [low, high] = side === "start" ? [0, one.end - SHORTEST] : [one.start + SHORTEST, this.result.seconds];
    this.edited = true;
    Object.assign(one, { [side]: round(Math.max(low, Math.min(high, time))), score: null, peak: null, box: null });
  }

  move(side, time) {
    if (Number.isFinite(time)) this.set(side, time);
    this.draw();
  }

  change(values) {
    this.edited = true;
    Object.assign(this.selected, { score: null, peak: null, box: null }, values);
    // What has just been made must be visible.
    if (this.hidden.delete(this.selected.label)) this.names = null;
    this.draw();
  }

  add() {
    const start = Math.max(0, Math.min(this.now(), this.result.seconds - 1));
    const one = { start: round(start), end: round(Math.min(this.result.seconds, start + 1)), label: this.selected?.label ?? this.prediction.label };
    this.segments.push(one);
    this.selected = one;
    this.change({});
  }

  remove() {
    this.edited = true;
    this.segments.splice(this.segments.indexOf(this.selected), 1);
    this.draw();
  }

  reset() {
    this.segments = this.prediction.segments.map((one) => ({ ...one }));
    this.edited = false;
    this.draw();
  }

  setLeast(share) {
    this.least = share;
    this.output.textContent = percent(share);
    this.draw();
  }

  showTime(time) {
    this.playhead.style.left = `${100 * time / this.result.seconds}%`;
  }

  async download() {
    const format = this.format.value;
    const body = JSON.stringify(this.visible.map(({ lane, ...one }) => one));
    try {
      const response = await request(`api/clips/${this.clip.id}/segments?format=${format}`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
      const name = /filename\*=UTF-8''([^;]*)/.exec(response.headers.get("Content-Disposition"));
      save(await response.blob(), name ? decodeURIComponent(name[1]) : "segments");
    } catch (error) {
      if (!this.clip.cancelled) this.onerror(error.message);
    }
  }
}
