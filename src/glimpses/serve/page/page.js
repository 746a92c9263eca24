// The page: give a clip, wait, watch where the models look. It talks to this server alone.

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const percent = (value) => `${Math.round(100 * value)} %`;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let status = null;
// The clip that is being worked on or shown: {id, xhr, ended, player}.
let current = null;

// ---- asking the server -------------------------------------------------------------------------

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (!answer.ok) throw new Error(await reason(answer));
  return answer;
}

async function reason(answer) {
  try {
    const { detail } = await answer.json();
    return typeof detail === "string" ? detail : "The server did not understand that.";
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

function upload(file, name, onProgress, clip) {
  return new Promise((resolve, reject) => {
    const xhr = (clip.xhr = new XMLHttpRequest());
    xhr.open("POST", `api/clips?${new URLSearchParams([["name", name], ...chosenModels()])}`);
    xhr.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    xhr.onerror = () => reject(new Error("The clip did not get through to the server. Try again; is it still running?"));
    xhr.onload = () => {
      let told = {};
      try { told = JSON.parse(xhr.responseText); } catch { /* no JSON, no detail */ }
      if (xhr.status === 202) resolve(told);
      else reject(new Error(typeof told.detail === "string" ? told.detail : `The server answered ${xhr.status}.`));
    };
    xhr.setRequestHeader("Content-Type", "application/octet-stream");
    xhr.send(file);
  });
}

const chosenModels = () =>
  [...document.querySelectorAll("#models input:checked")].map((box) => ["models", box.value]);

// ---- giving a clip -----------------------------------------------------------------------------

async function handIn(send) {
  if (status.models.length > 1 && !chosenModels().length) return complain("Choose at least one model.");
  const old = current;
  const clip = (current = { id: null, ended: false });
  await leave(old);
  await watch(clip, async () => {
    const told = await send(clip);
    clip.id = told.id;
    if (clip.ended) return void forget(clip.id);
    history.replaceState(null, "", `#${clip.id}`);
    await follow(clip, told);
  });
}

// Shows how far a clip is until it is shown itself, or what became of it.
async function watch(clip, work) {
  if (current !== clip) return;
  $("problem").hidden = true;
  $("work").hidden = false;
  // Not the button: whoever still holds Enter down would press it.
  $("doing").focus();
  try {
    await work();
  } catch (error) {
    if (clip.ended) return;
    complain(error.message);
    if (current === clip) current = null;
    history.replaceState(null, "", location.pathname);
  } finally {
    if (current === clip || !current) $("work").hidden = true;
    if (document.activeElement === document.body) $("file").focus();
  }
}

function giveFile(file, name = file.name, others = 0) {
  if (file.size > 1e6 * status.most_megabytes)
    return complain(`${name}: is larger than ${status.most_megabytes} MB; make it smaller or shorter`);
  if (!file.size) return complain(`${name}: is empty`);
  handIn((clip) => {
    const doing = `sending ${name}${others ? `, the first of ${others + 1}: one at a time` : ""}`;
    show(doing, 0);
    return upload(file, name, (share) => show(doing, share), clip);
  });
}

const giveExample = (example) =>
  handIn(async () => {
    show(`opening ${example.name}`, null);
    const answer = await ask(`api/examples/${example.number}?${new URLSearchParams(chosenModels())}`, { method: "POST" });
    return answer.json();
  });

async function follow(clip, told) {
  for (let wait = 150; ; wait = Math.min(1000, 1.3 * wait)) {
    if (told.state === "failed") throw new Error(told.problem);
    if (told.state === "done") break;
    if (told.state === "working") show(`${told.doing || "looking"} …`, told.progress);
    else show(told.ahead ? `waiting: ${told.ahead} ${told.ahead === 1 ? "clip is" : "clips are"} worked on before this one` : "waiting", null);
    await pause(wait);
    if (clip.ended) return;
    told = await (await ask(`api/clips/${clip.id}`)).json();
  }
  const [result, video] = await Promise.all([
    ask(`api/clips/${clip.id}/result`).then((answer) => answer.json()),
    ask(`api/clips/${clip.id}/video`).then((answer) => answer.blob()),
  ]);
  if (!clip.ended) present(clip, result, URL.createObjectURL(video));
}

function show(text, share) {
  if ($("doing").textContent !== text) $("doing").textContent = text;
  if (share == null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
  $("problem").scrollIntoView({ block: "nearest" });
}

const forget = (id) => fetch(`api/clips/${id}`, { method: "DELETE" }).catch(() => {});

// Whatever is there goes away, here and on the server.
async function dismiss() {
  const clip = current;
  current = null;
  await leave(clip);
}

async function leave(clip) {
  $("result").hidden = true;
  $("work").hidden = true;
  history.replaceState(null, "", location.pathname);
  if (!clip) return;
  clip.ended = true;
  clip.player?.end();
  if (clip.id) await forget(clip.id);
  else clip.xhr?.abort();
}

async function record() {
  const view = $("viewfinder");
  const before = current;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
  } catch {
    return complain("The camera cannot be used; allow it in the browser, or choose a file.");
  }
  try {
    view.srcObject = stream;
    view.hidden = false;
    await view.play();
    const pieces = [];
    const recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    const ended = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    $("record").disabled = true;
    for (const left of [3, 2, 1]) {
      $("record").textContent = `recording … ${left}`;
      await pause(1000);
    }
    recorder.stop();
    await ended;
    // Whoever took something else meanwhile wants that.
    if (current === before) giveFile(new Blob(pieces, { type: recorder.mimeType }), "camera");
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    view.hidden = true;
    $("record").disabled = false;
    $("record").textContent = "Record 3 seconds with the camera";
  }
}

// ---- showing what was seen ---------------------------------------------------------------------

function present(clip, result, address) {
  $("clip").textContent = result.clip;
  $("about").textContent = [
    result.truth.length ? `It shows: ${result.truth.join(", ")}.` : "",
    result.problem ? `The file ${result.problem}; what could be read was used.` : "",
  ].join(" ").trim();
  $("about").hidden = !$("about").textContent;
  $("json").href = `api/clips/${clip.id}/result`;
  $("json").download = `${result.clip.replace(/\.[^.]*$/, "")}.json`;
  $("light-label").hidden = !result.models.some((said) => said.attention);
  $("panels").replaceChildren();
  $("panels").className = result.models.length === 1 ? "alone" : "";
  // A frame or two, over and over, only flicker.
  const loop = result.seconds < 0.5 ? null : "";
  const video = make("video", { src: address, playsinline: "", loop, preload: "auto", "aria-hidden": "true", tabindex: "-1" });
  video.muted = true;
  const hues = new Map();
  const panels = result.models.map((said, place) => new Panel(clip, result, said, place ? null : video, hues));
  $("panels").append(...panels.map((panel) => panel.element));
  // What stands above must not move any more when the page scrolls.
  $("work").hidden = true;
  $("result").hidden = false;
  clip.player = new Player(video, result, panels, address);
  $("clip").focus({ preventScroll: true });
  $("result").scrollIntoView({ behavior: calm() ? "auto" : "smooth" });
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// One video drives all panels, the slider and the playheads.
class Player {
  constructor(video, result, panels, address) {
    Object.assign(this, { video, result, panels, address, ended: false });
    const seek = $("seek");
    seek.max = result.seconds;
    $("play").onclick = () => this.toggle();
    $("speed").onchange = () => (video.playbackRate = Number($("speed").value));
    $("light").onchange = () => this.draw();
    seek.oninput = () => this.go(Number(seek.value));
    // One step of the model.
    const { times } = result.models[0];
    this.step = times.length > 1 ? (times.at(-1) - times[0]) / (times.length - 1) : 0.1;
    panels.forEach((panel) => {
      panel.onseek = (time) => this.go(time);
      panel.ontoggle = () => this.toggle();
    });
    for (const event of ["loadeddata", "seeked", "pause", "play"]) video.addEventListener(event, () => this.draw());
    video.addEventListener("loadeddata", () => {
      video.playbackRate = Number($("speed").value);
      video.requestVideoFrameCallback?.(() => this.draw());
      if (!calm()) video.play().catch(() => {});
    }, { once: true });
    const tick = () => {
      if (this.ended) return;
      if (!video.paused) this.draw();
      requestAnimationFrame(tick);
    };
    tick();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  go(time) {
    this.video.pause();
    this.video.currentTime = Math.max(0, Math.min(time, this.result.seconds - 0.01));
    this.draw();
  }

  // What a key means to it; tells whether anything.
  press(event) {
    const far = event.shiftKey ? 1 : this.step;
    const by = { ArrowLeft: -far, ArrowDown: -far, ArrowRight: far, ArrowUp: far, PageDown: -1, PageUp: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by) this.go(this.video.currentTime + by);
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
    const heard = this.panels.map((panel) => panel.draw(video, time, $("light").checked));
    // While it plays, nobody could listen to that.
    if (!playing) $("seek").setAttribute("aria-valuetext", `${time.toFixed(1)} seconds: ${heard.join("; ")}`);
  }

  end() {
    this.ended = true;
    this.video.pause();
    this.video.removeAttribute("src");
    URL.revokeObjectURL(this.address);
  }
}

// What one model says of the clip.
class Panel {
  constructor(clip, result, said, video, hues) {
    this.said = said;
    const model = status.models[said.model];
    this.classes = Object.keys(said.probabilities);
    // The label, and what comes nearest to it at any moment.
    const heights = this.classes.map((name, index) => name === said.label ? Infinity : Math.max(...said.step_probabilities.map((step) => step[index])));
    this.leading = heights.map((_, index) => index).sort((a, b) => heights[b] - heights[a]).slice(0, 4);
    // In all panels a class has the same colour.
    for (const index of this.leading) if (!hues.has(this.classes[index])) hues.set(this.classes[index], hues.size % 8);
    this.hue = (index) => `hue-${hues.get(this.classes[index])}`;
    this.canvas = make("canvas", {
      width: result.width, height: result.height, role: "img",
      "aria-label": said.attention ? "The clip: in light and colour where the model looks, dim elsewhere" : "The clip; this model looks at all of it alike",
    });
    const { label } = said;
    const right = result.truth.length ? result.truth.includes(label) : null;
    this.rows = this.leading.map((index) => [make("span", {}, ""), make("b", {})]);
    this.head = make("div", { class: "head" });
    const pictures = said.decisive_steps.map((step, place) => {
      const time = said.times[step];
      const lead = said.step_probabilities[step][this.classes.indexOf(label)];
      return make("li", {}, make("button", { type: "button", onclick: () => this.onseek(time) },
        make("img", { src: `api/clips/${clip.id}/models/${said.model}/steps/${place}`, alt: "" }),
        make("span", { class: "when" }, make("span", { class: "spoken" }, "Go to "), ...[`${time.toFixed(1)} s`, percent(lead)].map((part) => make("span", {}, part)))));
    });
    const mark = right == null ? "" : make("span", { class: right ? "yes" : "no" }, right ? " ✓" : " ✗", make("span", { class: "spoken" }, right ? " right" : " wrong"));
    this.element = make("article", { class: "panel card" },
      make("div", { class: "screen", onclick: () => this.ontoggle() }, ...(video ? [video] : []), this.canvas),
      make("div", { class: "said" },
        make("div", {},
          status.models.length > 1 ? make("h3", { class: "quiet" }, model.name) : "",
          make("div", { class: "label" }, label, " ", make("small", {}, percent(said.probabilities[label])), mark)),
        this.timeline(result),
        make("ul", { class: "bars", "aria-label": "Probabilities at this moment" }, ...this.rows.map(([number, bar], row) =>
          make("li", { class: this.hue(this.leading[row]) }, make("span", {}, this.classes[this.leading[row]]), number, make("i", {}, bar)))),
        said.attention || said.decisive_steps.length ? make("div", {}, make("h4", {}, `Where it was most surely ${label}`), make("ul", { class: "steps" }, ...pictures)) : "",
        make("p", {}, this.overlayLink(clip, result.clip, model)),
        this.facts(model)));
    if (said.attention) this.lamp = new Lamp(said, result.width / result.height);
  }

  timeline(result) {
    const { said } = this;
    const end = result.seconds;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const half = document.createElementNS(svg.namespaceURI, "line");
    for (const [name, value] of [["x1", 0], ["x2", 100], ["y1", 50], ["y2", 50]]) half.setAttribute(name, value);
    svg.append(half);
    // Backwards, so that the leading class lies on top.
    [...this.leading.entries()].reverse().forEach(([row, index]) => {
      const points = said.times.map((time, step) => [100 * time / end, 100 * (1 - said.step_probabilities[step][index])]);
      const line = document.createElementNS(svg.namespaceURI, "path");
      line.setAttribute("class", `${this.hue(index)}${row ? "" : " best"}`);
      line.setAttribute("d", `M0 ${points[0][1]} ${points.map(([x, y]) => `L${x.toFixed(2)} ${y.toFixed(2)}`).join(" ")} L100 ${points.at(-1)[1]}`);
      svg.append(line);
    });
    const dots = said.decisive_steps.map((step) => {
      const dot = make("div", { class: "sure" });
      dot.style.left = `${100 * said.times[step] / end}%`;
      return dot;
    });
    // For the pointer only; by keyboard the slider does the same.
    const line = make("div", { class: "timeline" }, svg, make("span", { class: "full", "aria-hidden": "true" }, "100 %"), make("span", { class: "half", "aria-hidden": "true" }, "50 %"), ...dots, this.head);
    const seek = (event) => {
      const box = line.getBoundingClientRect();
      this.onseek(end * (event.clientX - box.left) / box.width);
    };
    line.addEventListener("pointerdown", (event) => { line.setPointerCapture(event.pointerId); seek(event); });
    line.addEventListener("pointermove", (event) => event.buttons && seek(event));
    this.end = end;
    return make("div", {}, make("h4", {}, "Probability over time"), line, make("div", { class: "scale" }, make("span", {}, "0"), make("span", {}, `${end.toFixed(1)} s`)));
  }

  overlayLink(clip, name, model) {
    const button = make("button", { type: "button", onclick: async () => {
      button.disabled = true;
      button.textContent = "drawing the video …";
      try {
        const answer = await ask(`api/clips/${clip.id}/models/${this.said.model}/overlay`);
        const address = URL.createObjectURL(await answer.blob());
        make("a", { href: address, download: `${name.replace(/\.[^.]*$/, "")}-${model.name}.mp4` }).click();
        setTimeout(() => URL.revokeObjectURL(address), 60000);
      } catch (error) {
        if (!clip.ended) complain(error.message);
      }
      button.disabled = false;
      button.textContent = "Download overlay video";
    } }, "Download overlay video");
    return button;
  }

  facts(model) {
    const { measures } = model;
    const lines = [`${model.kind}, on ${model.backbone}`];
    if (measures?.accuracy != null) lines.push(`Right in ${percent(measures.accuracy)} of ${measures.clips} clips that it had not seen.`);
    if (measures?.pointing != null) lines.push(`The place it looks at most is on the actor in ${percent(measures.pointing)} of the steps; a place at random in ${percent(measures.pointing_chance)}.`);
    if (measures?.accuracy_uniform != null) lines.push(`Made to look everywhere alike, it is right in ${percent(measures.accuracy_uniform)}.`);
    return make("details", {}, make("summary", {}, "About this model"), ...lines.map((line) => make("p", { class: "small quiet" }, line)),
      make("p", { class: "small quiet" }, `It knows ${model.classes.join(", ")}, and nothing else: shown another action, it names one of these.`));
  }

  // Draws a moment; gives it in words.
  draw(video, time, lit) {
    const { said } = this;
    const [before, after, share] = between(said.times, time);
    const now = (index) => (1 - share) * said.step_probabilities[before][index] + share * said.step_probabilities[after][index];
    this.rows.forEach(([number, bar], row) => {
      const value = now(this.leading[row]);
      number.textContent = percent(value);
      bar.style.transform = `scaleX(${value})`;
    });
    this.head.style.left = `${100 * time / this.end}%`;
    // Between two frames the last one stays, with its light.
    if (video.readyState >= 2) {
      const pen = this.canvas.getContext("2d");
      pen.drawImage(video, 0, 0, this.canvas.width, this.canvas.height);
      if (this.lamp && lit) this.lamp.shine(pen, before, after, share);
    }
    return `${said.label} ${percent(now(this.classes.indexOf(said.label)))}`;
  }
}

// The steps before and after a time, and how far it is on the way.
function between(times, time) {
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

// Attention as light: the picture as it is where the model looks, dim and grey elsewhere.
class Lamp {
  constructor(said, aspect) {
    this.maps = said.attention;
    this.full = said.light;
    const wide = aspect >= 1;
    this.width = wide ? 72 : Math.round(72 * aspect);
    this.height = wide ? Math.round(72 / aspect) : 72;
    this.across = spread(this.maps[0][0].length, this.width);
    this.down = spread(this.maps[0].length, this.height);
    this.masks = [0, 1].map(() => new OffscreenCanvas(this.width, this.height));
  }

  shine(pen, before, after, share) {
    const { width, height, across, down } = this;
    const [a, b] = [this.maps[before], this.maps[after]];
    const rows = a.map((row, i) => row.map((value, j) => (1 - share) * value + share * b[i][j]));
    // Columns first, then rows: the weights of each pixel are a product.
    const wide = rows.map((row) => across.map((weights) => weights.reduce((sum, weight, j) => sum + weight * row[j], 0)));
    const dim = new ImageData(width, height);
    const glow = new ImageData(width, height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let value = 0;
        for (let i = 0; i < wide.length; i++) value += down[y][i] * wide[i][x];
        const light = Math.min(1, Math.max(0, value) / this.full);
        const at = 4 * (y * width + x);
        dim.data[at + 3] = 255 * (1 - light ** 0.65);
        glow.data.set([255, 243, 214, 92 * light ** 2], at);
      }
    }
    [dim, glow].forEach((data, place) => this.masks[place].getContext("2d").putImageData(data, 0, 0));
    const size = [0, 0, pen.canvas.width, pen.canvas.height];
    pen.save();
    pen.imageSmoothingQuality = "high";
    for (const [mode, alpha, mask] of [["saturation", 0.6, 0], ["source-over", 0.7, 0], ["source-over", 1, 1]]) {
      pen.globalCompositeOperation = mode;
      pen.globalAlpha = alpha;
      pen.drawImage(this.masks[mask], ...size);
    }
    pen.restore();
  }
}

// How much of each pixel along one axis belongs to each place: every place fills its cell, and a
// Gaussian of half a cell hides the grid; what falls over the edge is mirrored.
function spread(places, pixels) {
  const normal = (x) => 1 / (1 + Math.exp(-1.702 * x));
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = places * (pixel + 0.5) / pixels;
    const weights = new Array(places).fill(0);
    for (let cell = -3; cell < places + 3; cell++) {
      const weight = normal((at - cell) / 0.5) - normal((at - cell - 1) / 0.5);
      const folded = cell < 0 ? -cell - 1 : cell >= places ? 2 * places - cell - 1 : cell;
      if (folded >= 0 && folded < places) weights[folded] += weight;
    }
    return weights;
  });
}

// ---- beginning ---------------------------------------------------------------------------------

function listen() {
  $("file").onchange = () => {
    const [file] = $("file").files;
    if (file) giveFile(file);
    $("file").value = "";
  };
  $("cancel").onclick = () => dismiss();
  $("forget").onclick = () => dismiss().then(() => $("file").focus());
  $("record").onclick = record;
  $("record").hidden = !(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);
  // Dropped anywhere on the page, a file must not replace it.
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const [file, ...others] = event.dataTransfer.files;
    if (file) giveFile(file, file.name, others.length);
    else complain("That is no file.");
  });
  addEventListener("keydown", (event) => {
    const own = event.target.closest("button, a, input, select, summary, label");
    if (!current?.player || (own && own.id !== "seek") || event.ctrlKey || event.metaKey || event.altKey) return;
    // Away from the slider, other keys scroll the page.
    const ours = own ? [] : [" ", "ArrowLeft", "ArrowRight"];
    if ((own || ours.includes(event.key)) && current.player.press(event)) event.preventDefault();
  });
}

// Shows the clip that the address names: after a reload, or by a link.
async function reopen() {
  const id = location.hash.slice(1);
  if (!id || id === current?.id) return;
  const old = current;
  const clip = (current = { id, ended: false });
  await leave(old);
  history.replaceState(null, "", `#${id}`);
  await watch(clip, async () => {
    show("looking for the clip", null);
    await follow(clip, await (await ask(`api/clips/${id}`)).json());
  });
}

async function begin() {
  listen();
  try {
    status = await (await ask("api/status")).json();
    $("limits").textContent = `any video, up to ${status.most_megabytes} MB and ${status.most_seconds} seconds`;
    $("kept").textContent = `Clips are deleted ${status.keep_minutes} minutes after they were last looked at.`;
    if (status.models.length > 1) {
      status.models.forEach((model, number) => $("models").append(make("label", {}, make("input", { type: "checkbox", value: number, checked: "" }), model.name)));
      $("models").hidden = false;
    }
    const examples = await (await ask("api/examples")).json();
    $("examples").hidden = !examples.length;
    $("examples").querySelector("ul").append(...examples.map((example) =>
      make("li", {}, make("button", { type: "button", onclick: () => giveExample(example) },
        make("img", { src: `api/examples/${example.number}/picture`, alt: "" }),
        make("span", {}, example.shows.join(", ") || example.name)))));
    // While it is looked at, the server keeps it.
    const often = 1000 * Math.min(60, 20 * status.keep_minutes);
    setInterval(() => current?.id && !document.hidden && fetch(`api/clips/${current.id}`).catch(() => {}), often);
    addEventListener("hashchange", reopen);
    await reopen();
  } catch (error) {
    complain(error.message);
  }
}

begin();
