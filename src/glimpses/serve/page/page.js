// The page: upload a clip, wait, and see the predictions and attention. It talks to this server only.

import { $, create, percent, request, save } from "./dom.js";
import { SegmentEditor } from "./segments.js";

const interval = (ends) => ends ? ` (95 % interval ${ends.map((end) => Math.round(100 * end)).join(" to ")})` : "";
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let server = null;
// The clip that is being processed or shown: {id, xhr, cancelled, player}.
let current = null;

// ---- requests ----------------------------------------------------------------------------------

function uploadFile(file, name, onProgress, clip) {
  return new Promise((resolve, reject) => {
    const xhr = (clip.xhr = new XMLHttpRequest());
    xhr.open("POST", `api/clips?${new URLSearchParams([["name", name], ...chosenModels()])}`);
    xhr.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    xhr.onerror = () => reject(new Error("The upload failed. Is the server still running? Try again."));
    xhr.onload = () => {
      let body = {};
      try { body = JSON.parse(xhr.responseText); } catch { /* not JSON: no detail */ }
      if (xhr.status === 202) resolve(body);
      else reject(new Error(typeof body.detail === "string" ? body.detail : `The server returned error ${xhr.status}.`));
    };
    xhr.setRequestHeader("Content-Type", "application/octet-stream");
    xhr.send(file);
  });
}

const chosenModels = () =>
  [...document.querySelectorAll("#models input:checked")].map((box) => ["models", box.value]);

const deleteClip = (id) => fetch(`api/clips/${id}`, { method: "DELETE" }).catch(() => {});

// ---- submitting a clip -------------------------------------------------------------------------

async function submit(send) {
  if (server.models.length > 1 && !chosenModels().length) return showError("Choose at least one model.");
  const previous = current;
  const clip = (current = { id: null, cancelled: false });
  await close(previous);
  await track(clip, async () => {
    const status = await send(clip);
    clip.id = status.id;
    if (clip.cancelled) return void deleteClip(clip.id);
    history.replaceState(null, "", `#${clip.id}`);
    await waitForResult(clip, status);
  });
}

// Show the progress of a clip while `work` runs, and its error if it fails.
async function track(clip, work) {
  if (current !== clip) return;
  $("error").hidden = true;
  $("job").hidden = false;
  // Do not focus the button: an Enter key that is still held down would press it.
  $("stage").focus();
  try {
    await work();
  } catch (error) {
    if (clip.cancelled) return;
    showError(error.message);
    if (current === clip) current = null;
    history.replaceState(null, "", location.pathname);
  } finally {
    if (current === clip || !current) $("job").hidden = true;
    if (document.activeElement === document.body) $("file").focus();
  }
}

function submitFile(file, name = file.name, ignored = 0) {
  if (file.size > 1e6 * server.max_upload_mb)
    return showError(`${name}: is larger than ${server.max_upload_mb} MB; make it smaller or shorter`);
  if (!file.size) return showError(`${name}: is empty`);
  submit((clip) => {
    const stage = `uploading ${name}${ignored ? `, the first of ${ignored + 1} files; submit one at a time` : ""}`;
    showProgress(stage, 0);
    return uploadFile(file, name, (share) => showProgress(stage, share), clip);
  });
}

const submitExample = (example) =>
  submit(async () => {
    showProgress(`opening ${example.name}`, null);
    const response = await request(`api/examples/${example.id}?${new URLSearchParams(chosenModels())}`, { method: "POST" });
    return response.json();
  });

async function waitForResult(clip, status) {
  for (let interval = 150; ; interval = Math.min(1000, 1.3 * interval)) {
    if (status.state === "failed") throw new Error(status.error);
    if (status.state === "done") break;
    if (status.state === "running") showProgress(`${status.stage || "starting"} …`, status.progress);
    else showProgress(status.clips_ahead ? `queued: ${status.clips_ahead} ${status.clips_ahead === 1 ? "clip" : "clips"} ahead` : "queued", null);
    await sleep(interval);
    if (clip.cancelled) return;
    status = await (await request(`api/clips/${clip.id}`)).json();
  }
  const [result, video] = await Promise.all([
    request(`api/clips/${clip.id}/result`).then((response) => response.json()),
    request(`api/clips/${clip.id}/video`).then((response) => response.blob()),
  ]);
  if (!clip.cancelled) showResult(clip, result, URL.createObjectURL(video));
}

function showProgress(stage, share) {
  if ($("stage").textContent !== stage) $("stage").textContent = stage;
  if (share == null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = false;
  $("error").scrollIntoView({ block: "nearest" });
}

// Cancel or close the current clip, here and on the server.
async function closeCurrent() {
  const clip = current;
  current = null;
  await close(clip);
}

async function close(clip) {
  $("result").hidden = true;
  $("job").hidden = true;
  history.replaceState(null, "", location.pathname);
  if (!clip) return;
  clip.cancelled = true;
  clip.player?.stop();
  if (clip.id) await deleteClip(clip.id);
  else clip.xhr?.abort();
}

async function record() {
  const viewfinder = $("viewfinder");
  const previous = current;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
  } catch {
    return showError("The camera cannot be used. Allow it in the browser, or choose a file.");
  }
  try {
    viewfinder.srcObject = stream;
    viewfinder.hidden = false;
    await viewfinder.play();
    const chunks = [];
    const recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => chunks.push(event.data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    $("record").disabled = true;
    for (const remaining of [3, 2, 1]) {
      $("record").textContent = `recording … ${remaining}`;
      await sleep(1000);
    }
    recorder.stop();
    await stopped;
    // Drop the recording if the user has submitted another clip meanwhile.
    if (current === previous) submitFile(new Blob(chunks, { type: recorder.mimeType }), "camera");
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    viewfinder.hidden = true;
    $("record").disabled = false;
    $("record").textContent = "Record 3 seconds with the camera";
  }
}

// ---- showing a result --------------------------------------------------------------------------

function showResult(clip, result, url) {
  $("clip").textContent = result.clip;
  $("notes").textContent = [
    result.labels.length ? `Annotated action: ${result.labels.join(", ")}.` : "",
    result.warning ? `The file ${result.warning}; the readable part was used.` : "",
  ].join(" ").trim();
  $("notes").hidden = !$("notes").textContent;
  $("json").href = `api/clips/${clip.id}/result`;
  $("json").download = `${result.clip.replace(/\.[^.]*$/, "")}.json`;
  $("attention-label").hidden = !result.models.some((prediction) => prediction.attention);
  $("panels").replaceChildren();
  $("panels").className = result.models.length === 1 ? "single" : "";
  // Looping a clip of one or two frames would only flicker.
  const loop = result.seconds < 0.5 ? null : "";
  const video = create("video", { src: url, playsinline: "", loop, preload: "auto", "aria-hidden": "true", tabindex: "-1" });
  video.muted = true;
  const hues = new Map();
  const panels = result.models.map((prediction, index) => new Panel(clip, result, prediction, index ? null : video, hues));
  $("panels").append(...panels.map((panel) => panel.element));
  // Hide the progress first: the layout above must not change while the page scrolls.
  $("job").hidden = true;
  $("result").hidden = false;
  clip.player = new Player(video, result, panels, url);
  $("clip").focus({ preventScroll: true });
  $("result").scrollIntoView({ behavior: reducedMotion() ? "auto" : "smooth" });
}

const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Player: one video that drives all panels, the slider and the playheads.
class Player {
  constructor(video, result, panels, url) {
    Object.assign(this, { video, result, panels, url, stopped: false });
    const seek = $("seek");
    seek.max = result.seconds;
    $("play").onclick = () => this.toggle();
    $("speed").onchange = () => (video.playbackRate = Number($("speed").value));
    $("attention").onchange = () => this.draw();
    seek.oninput = () => this.seek(Number(seek.value));
    // Arrow keys move by one step of the model.
    const { times } = result.models[0];
    this.step = times.length > 1 ? (times.at(-1) - times[0]) / (times.length - 1) : 0.1;
    panels.forEach((panel) => {
      panel.onseek = (time) => this.seek(time);
      panel.ontoggle = () => this.toggle();
    });
    for (const event of ["loadeddata", "seeked", "pause", "play"]) video.addEventListener(event, () => this.draw());
    video.addEventListener("loadeddata", () => {
      video.playbackRate = Number($("speed").value);
      video.requestVideoFrameCallback?.(() => this.draw());
      if (!reducedMotion()) video.play().catch(() => {});
    }, { once: true });
    const tick = () => {
      if (this.stopped) return;
      if (!video.paused) this.draw();
      requestAnimationFrame(tick);
    };
    tick();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  seek(time) {
    this.video.pause();
    this.video.currentTime = Math.max(0, Math.min(time, this.result.seconds - 0.01));
    this.draw();
  }

  // Handle a key; return whether it had an effect.
  handleKey(event) {
    const step = event.shiftKey ? 1 : this.step;
    const offset = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -1, PageUp: 1, Home: -Infinity, End: Infinity }[event.key];
    if (offset) this.seek(this.video.currentTime + offset);
    else if (event.key === " ") this.toggle();
    else return false;
    return true;
  }

  draw() {
    const { video } = this;
    const time = Math.min(video.currentTime, this.result.seconds);
    const playing = !video.paused;
    $("play").classList.toggle("on", playing);
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    $("seek").value = time;
    $("time").textContent = `${time.toFixed(1)} / ${this.result.seconds.toFixed(1)} s`;
    const descriptions = this.panels.map((panel) => panel.draw(video, time, $("attention").checked));
    // During playback the text would change too fast for a screen reader.
    if (!playing) $("seek").setAttribute("aria-valuetext", `${time.toFixed(1)} seconds: ${descriptions.join("; ")}`);
  }

  stop() {
    this.stopped = true;
    this.video.pause();
    this.video.removeAttribute("src");
    URL.revokeObjectURL(this.url);
  }
}

// Panel: the result of one model.
class Panel {
  constructor(clip, result, prediction, video, hues) {
    this.prediction = prediction;
    const model = server.models[prediction.model];
    this.classes = Object.keys(prediction.probabilities);
    // The predicted class, and the classes with the highest peaks.
    const peaks = this.classes.map((name, index) => name === prediction.label ? Infinity : Math.max(...prediction.step_probabilities.map((step) => step[index])));
    this.topClasses = peaks.map((_, index) => index).sort((a, b) => peaks[b] - peaks[a]).slice(0, 4);
    // A class has the same colour in all panels.
    const hueOf = (name) => {
      if (!hues.has(name)) hues.set(name, hues.size % 8);
      return `hue-${hues.get(name)}`;
    };
    this.hue = (index) => hueOf(this.classes[index]);
    this.topClasses.forEach(this.hue);
    this.segments = new SegmentEditor({
      clip, result, prediction, classes: this.classes, formats: server.segment_formats, hue: hueOf,
      onseek: (time) => this.onseek(time), now: () => Number($("seek").value), onerror: showError,
    });
    this.canvas = create("canvas", {
      width: result.width, height: result.height, role: "img",
      "aria-label": prediction.attention ? "The clip, bright where the model looks and dim elsewhere" : "The clip; this model has no attention",
    });
    const { label, decision } = prediction;
    const likeliest = `${label} ${percent(prediction.probabilities[label])}`;
    const correct = result.labels.length && prediction.sure ? result.labels.includes(label) : null;
    this.rows = this.topClasses.map((index) => [create("span", {}, ""), create("b", {})]);
    this.playhead = create("div", { class: "playhead" });
    const pictures = prediction.decisive_steps.map((step, index) => {
      const time = prediction.times[step];
      const probability = prediction.step_probabilities[step][this.classes.indexOf(label)];
      return create("li", {}, create("button", { type: "button", onclick: () => this.onseek(time) },
        create("img", { src: `api/clips/${clip.id}/models/${prediction.model}/steps/${index}`, alt: "" }),
        create("span", { class: "caption" }, create("span", { class: "visually-hidden" }, "Go to "), ...[`${time.toFixed(1)} s`, percent(probability)].map((part) => create("span", {}, part)))));
    });
    const mark = correct == null ? "" : create("span", { class: correct ? "correct" : "incorrect" }, correct ? " ✓" : " ✗", create("span", { class: "visually-hidden" }, correct ? " correct" : " incorrect"));
    this.element = create("article", { class: "panel card" },
      create("div", { class: "screen", onclick: () => this.ontoggle() }, ...(video ? [video] : []), this.canvas),
      create("div", { class: "prediction" },
        create("div", {},
          server.models.length > 1 ? create("h3", { class: "muted" }, model.name) : "",
          create("div", { class: "label" }, decision, " ", create("small", {}, decision === label ? percent(prediction.probabilities[label]) : prediction.sure ? likeliest : `most likely ${likeliest}, below the threshold of ${percent(prediction.threshold)}`), mark)),
        this.timeline(result),
        create("ul", { class: "bars", "aria-label": "Current probabilities" }, ...this.rows.map(([number, bar], row) =>
          create("li", { class: this.hue(this.topClasses[row]) }, create("span", {}, this.classes[this.topClasses[row]]), number, create("i", {}, bar)))),
        prediction.decisive_steps.length ? create("div", {}, create("h4", {}, "Moments of highest confidence"), create("ul", { class: "steps" }, ...pictures)) : "",
        create("p", {}, this.overlayButton(clip, result.clip, model)),
        this.details(model)),
      this.segments.element);
    if (prediction.attention) this.heatmap = new Heatmap(prediction, result.width / result.height);
  }

  timeline(result) {
    const { prediction } = this;
    const end = result.seconds;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const half = document.createElementNS(svg.namespaceURI, "line");
    for (const [name, value] of [["x1", 0], ["x2", 100], ["y1", 50], ["y2", 50]]) half.setAttribute(name, value);
    svg.append(half);
    // In reverse, so that the predicted class is drawn on top.
    [...this.topClasses.entries()].reverse().forEach(([row, index]) => {
      const points = prediction.times.map((time, step) => [100 * time / end, 100 * (1 - prediction.step_probabilities[step][index])]);
      const line = document.createElementNS(svg.namespaceURI, "path");
      line.setAttribute("class", `${this.hue(index)}${row ? "" : " predicted"}`);
      line.setAttribute("d", `M0 ${points[0][1]} ${points.map(([x, y]) => `L${x.toFixed(2)} ${y.toFixed(2)}`).join(" ")} L100 ${points.at(-1)[1]}`);
      svg.append(line);
    });
    const dots = prediction.decisive_steps.map((step) => {
      const dot = create("div", { class: "decisive" });
      dot.style.left = `${100 * prediction.times[step] / end}%`;
      return dot;
    });
    // For pointers only; the slider does the same by keyboard.
    const plot = create("div", { class: "timeline" }, svg, create("span", { class: "full", "aria-hidden": "true" }, "100 %"), create("span", { class: "half", "aria-hidden": "true" }, "50 %"), ...dots, this.playhead);
    const seek = (event) => {
      const box = plot.getBoundingClientRect();
      this.onseek(end * (event.clientX - box.left) / box.width);
    };
    plot.addEventListener("pointerdown", (event) => { plot.setPointerCapture(event.pointerId); seek(event); });
    plot.addEventListener("pointermove", (event) => event.buttons && seek(event));
    this.end = end;
    return create("div", {}, create("h4", {}, "Probability over time"), plot, create("div", { class: "axis" }, create("span", {}, "0"), create("span", {}, `${end.toFixed(1)} s`)));
  }

  overlayButton(clip, name, model) {
    const button = create("button", { type: "button", onclick: async () => {
      button.disabled = true;
      button.textContent = "drawing the video …";
      try {
        const response = await request(`api/clips/${clip.id}/models/${this.prediction.model}/overlay`);
        save(await response.blob(), `${name.replace(/\.[^.]*$/, "")}-${model.name}.mp4`);
      } catch (error) {
        if (!clip.cancelled) showError(error.message);
      }
      button.disabled = false;
      button.textContent = "Download overlay video";
    } }, "Download overlay video");
    return button;
  }

  details(model) {
    const { explanation } = model;
    const lines = [`${model.description}, on ${model.backbone}`];
    if (model.score != null) lines.push(`Measured: ${model.score}.`);
    else if (explanation?.accuracy != null) lines.push(`It classified ${percent(explanation.accuracy)}${interval(explanation.accuracy_interval)} of ${explanation.clips} test clips${explanation.recordings < explanation.clips ? ` of ${explanation.recordings} recordings` : ""} correctly.`);
    if (explanation?.pointing_accuracy != null) lines.push(`Its attention peaks on the actor in ${percent(explanation.pointing_accuracy)} of the steps; a random location is on the actor in ${percent(explanation.pointing_chance)}.`);
    if (explanation?.accuracy_uniform_attention != null) lines.push(`With uniform attention it classifies ${percent(explanation.accuracy_uniform_attention)}${interval(explanation.accuracy_uniform_attention_interval)} correctly.`);
    lines.push(`It knows these actions only: ${model.classes.join(", ")}. For any other action it predicts one of them.`);
    return create("details", {}, create("summary", {}, "About this model"), ...lines.map((line) => create("p", { class: "small muted" }, line)));
  }

  // Draw a moment of the clip; return it in words.
  draw(video, time, showAttention) {
    const { prediction } = this;
    const [before, after, share] = bracket(prediction.times, time);
    const probability = (index) => (1 - share) * prediction.step_probabilities[before][index] + share * prediction.step_probabilities[after][index];
    this.rows.forEach(([number, bar], row) => {
      const value = probability(this.topClasses[row]);
      number.textContent = percent(value);
      bar.style.transform = `scaleX(${value})`;
    });
    this.playhead.style.left = `${100 * time / this.end}%`;
    this.segments.showTime(time);
    // While the video seeks, keep the last frame and its heat map.
    if (video.readyState >= 2) {
      const context = this.canvas.getContext("2d");
      context.drawImage(video, 0, 0, this.canvas.width, this.canvas.height);
      if (this.heatmap && showAttention) this.heatmap.draw(context, before, after, share);
    }
    return `${prediction.label} ${percent(probability(this.classes.indexOf(prediction.label)))}`;
  }
}

// Return the steps before and after a time, and the position between them from 0 to 1.
function bracket(times, time) {
  let low = 0;
  let high = times.length - 1;
  if (time <= times[0]) return [0, 0, 0];
  if (time >= times[high]) return [high, high, 0];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle;
  }
  return [low, high, (time - times[low]) / (times[high] - times[low])];
}

// Heatmap: the frame unchanged where the model looks, dim and grey elsewhere.
class Heatmap {
  constructor(prediction, aspect) {
    this.attention = prediction.attention;
    this.scale = prediction.heatmap_scale;
    const landscape = aspect >= 1;
    this.width = landscape ? 72 : Math.round(72 * aspect);
    this.height = landscape ? Math.round(72 / aspect) : 72;
    this.columnWeights = interpolationWeights(this.attention[0][0].length, this.width);
    this.rowWeights = interpolationWeights(this.attention[0].length, this.height);
    this.masks = [0, 1].map(() => new OffscreenCanvas(this.width, this.height));
  }

  draw(context, before, after, share) {
    const { width, height, columnWeights, rowWeights } = this;
    const [a, b] = [this.attention[before], this.attention[after]];
    const grid = a.map((row, i) => row.map((value, j) => (1 - share) * value + share * b[i][j]));
    // The weights are separable: interpolate along the rows, then along the columns.
    const rows = grid.map((row) => columnWeights.map((weights) => weights.reduce((sum, weight, j) => sum + weight * row[j], 0)));
    const shade = new ImageData(width, height);
    const glow = new ImageData(width, height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let value = 0;
        for (let i = 0; i < rows.length; i++) value += rowWeights[y][i] * rows[i][x];
        const brightness = Math.min(1, Math.max(0, value) / this.scale);
        const offset = 4 * (y * width + x);
        shade.data[offset + 3] = 255 * (1 - brightness ** 0.65);
        glow.data.set([255, 243, 214, 92 * brightness ** 2], offset);
      }
    }
    [shade, glow].forEach((data, index) => this.masks[index].getContext("2d").putImageData(data, 0, 0));
    const size = [0, 0, context.canvas.width, context.canvas.height];
    context.save();
    context.imageSmoothingQuality = "high";
    for (const [mode, alpha, mask] of [["saturation", 0.6, 0], ["source-over", 0.7, 0], ["source-over", 1, 1]]) {
      context.globalCompositeOperation = mode;
      context.globalAlpha = alpha;
      context.drawImage(this.masks[mask], ...size);
    }
    context.restore();
  }
}

// Return the weight of each grid cell for each pixel along one axis: every cell is a box blurred by
// a Gaussian of half a cell, mirrored at the edges.
function interpolationWeights(cells, pixels) {
  const normalCdf = (x) => 1 / (1 + Math.exp(-1.702 * x));
  return Array.from({ length: pixels }, (_, pixel) => {
    const position = cells * (pixel + 0.5) / pixels;
    const weights = new Array(cells).fill(0);
    for (let cell = -3; cell < cells + 3; cell++) {
      const weight = normalCdf((position - cell) / 0.5) - normalCdf((position - cell - 1) / 0.5);
      const mirrored = cell < 0 ? -cell - 1 : cell >= cells ? 2 * cells - cell - 1 : cell;
      if (mirrored >= 0 && mirrored < cells) weights[mirrored] += weight;
    }
    return weights;
  });
}

// ---- start -------------------------------------------------------------------------------------

function addListeners() {
  $("file").onchange = () => {
    const [file] = $("file").files;
    if (file) submitFile(file);
    $("file").value = "";
  };
  $("cancel").onclick = () => closeCurrent();
  $("delete").onclick = () => closeCurrent().then(() => $("file").focus());
  $("record").onclick = record;
  $("record").hidden = !(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);
  // Without this, a file dropped beside the drop area would replace the page.
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const [file, ...others] = event.dataTransfer.files;
    if (file) submitFile(file, file.name, others.length);
    else showError("This is not a file.");
  });
  addEventListener("keydown", (event) => {
    const control = event.target.closest("button, a, input, select, summary, label");
    if (!current?.player || (control && control.id !== "seek") || event.ctrlKey || event.metaKey || event.altKey) return;
    // Outside the slider the other keys scroll the page.
    const pageKeys = control ? [] : [" ", "ArrowLeft", "ArrowRight"];
    if ((control || pageKeys.includes(event.key)) && current.player.handleKey(event)) event.preventDefault();
  });
}

// Show the clip in the URL's fragment, after a reload or from a link.
async function openFromUrl() {
  const id = location.hash.slice(1);
  if (!id || id === current?.id) return;
  const previous = current;
  const clip = (current = { id, cancelled: false });
  await close(previous);
  history.replaceState(null, "", `#${id}`);
  await track(clip, async () => {
    showProgress("loading the clip", null);
    await waitForResult(clip, await (await request(`api/clips/${id}`)).json());
  });
}

async function start() {
  addListeners();
  try {
    server = await (await request("api/status")).json();
    $("limits").textContent = `Any video format, up to ${server.max_upload_mb} MB and ${server.max_seconds} seconds`;
    $("retention").textContent = `Clips are deleted after ${server.retention_minutes} minutes without access.`;
    if (server.models.length > 1) {
      server.models.forEach((model, index) => $("models").append(create("label", {}, create("input", { type: "checkbox", value: index, checked: "" }), model.name)));
      $("models").hidden = false;
    }
    const examples = await (await request("api/examples")).json();
    $("examples").hidden = !examples.length;
    $("examples").querySelector("ul").append(...examples.map((example) =>
      create("li", {}, create("button", { type: "button", onclick: () => submitExample(example) },
        create("img", { src: `api/examples/${example.id}/picture`, alt: "" }),
        create("span", {}, example.labels.join(", ") || example.name)))));
    // Requests keep the clip alive on the server while the page is visible.
    const interval = 1000 * Math.min(60, 20 * server.retention_minutes);
    setInterval(() => current?.id && !document.hidden && fetch(`api/clips/${current.id}`).catch(() => {}), interval);
    addEventListener("hashchange", openFromUrl);
    await openFromUrl();
  } catch (error) {
    showError(error.message);
  }
}

start();
