// Plays the films of one or two trainings on one clock: map, gallery, attention and curves. Asks nobody for anything.
// Time runs from 0 to 1; a frame after `step` of `total` steps is shown at sqrt(step / total), as frames are denser early.
const SECONDS = 10; // of a film at speed 1
const MAX_PAUSE = 100; // milliseconds that one frame plays: none come while the tab is hidden, and the film waits
const SPEEDS = [0.5, 1, 2, 4];
// What the model sees in an image, compared with the classes of the image and of the attack -> mark and meaning.
const SEEN = { target: ["▲", "the target class"], truth: ["✓", "the true class"], other: ["?", "another class"] };
const CURVE = { left: 40, right: 10, top: 8, bottom: 34 };

class View {
  constructor(parent) {
    const root = parent.querySelector(".film");
    Object.assign(this, { root, time: 0, speed: 1, playing: false, image: 0 });
    root.player = this; // for tests, and film.html.jinja
    this.onKey = (event) => this.press(event);
    document.addEventListener("keydown", this.onKey);
    this.resizes = new ResizeObserver(() => this.draw());
    this.resizes.observe(root);
  }

  stop() {
    this.pause();
    document.removeEventListener("keydown", this.onKey);
    this.resizes.disconnect();
  }

  receive({ data }) {
    if (data.key !== this.key) {
      this.key = data.key;
      this.build(data);
      this.seek(0);
    }
    this.draw();
  }

  build(data) {
    this.pause();
    this.root.replaceChildren();
    this.root.dataset.films = data.films.length;
    this.buildBar();
    const stage = add(this.root, "div", { class: "stage" });
    this.movies = data.films.map((film) => new Movie(stage, film, (image) => this.choose(image)));
    const side = data.films.length === 1 ? this.movies[0].side : this.root;
    this.curves = new Curves(side, data.films, (time) => this.seek(time));
    this.choose(0);
  }

  buildBar() {
    const bar = add(this.root, "div", { class: "bar" });
    this.button = add(bar, "button", { class: "play primary", type: "button" });
    this.button.addEventListener("click", () => this.toggle());
    this.slider = add(bar, "input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "Position" });
    this.slider.addEventListener("input", () => this.seek(this.slider.value / 1000));
    this.clock = add(bar, "span", { class: "clock" }); // no <output>: a screen reader would read each frame
    const speed = add(bar, "select", { "aria-label": "Speed" });
    for (const value of SPEEDS) add(speed, "option", { value }).textContent = `${value}×`;
    speed.value = this.speed;
    speed.addEventListener("change", () => (this.speed = Number(speed.value)));
    this.showState();
  }

  press(event) {
    const target = event.composedPath()[0];
    const isTyping = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT|BUTTON|SUMMARY)$/.test(target.tagName ?? "");
    if (event.code !== "Space" || event.ctrlKey || event.altKey || event.metaKey) return;
    if (isTyping && target !== this.slider) return; // the play button toggles by itself, a summary unfolds
    event.preventDefault();
    this.toggle();
  }

  toggle() {
    this.playing ? this.pause() : this.play();
  }

  play() {
    if (this.time >= 1) this.seek(0);
    this.playing = true;
    this.showState();
    let last = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      const passed = Math.min(now - last, MAX_PAUSE);
      this.seek(Math.min(1, this.time + (passed / 1000 / SECONDS) * this.speed));
      last = now;
      if (this.time >= 1) return this.pause();
      this.request = requestAnimationFrame(step);
    };
    this.request = requestAnimationFrame(step);
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.showState();
  }

  showState() {
    if (!this.button) return;
    this.button.textContent = this.playing ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.button.title = `${this.playing ? "Pause" : "Play"} (space)`;
  }

  seek(time) {
    this.time = time;
    this.draw();
  }

  choose(image) {
    this.image = image;
    this.draw();
  }

  draw() {
    if (!this.movies || !this.root.clientWidth) return;
    this.slider.value = Math.round(1000 * this.time);
    const texts = this.movies.map((movie) => movie.clock(this.time));
    this.clock.textContent = `Step ${[...new Set(texts)].join(" · ")}`;
    this.slider.setAttribute("aria-valuetext", this.clock.textContent);
    this.root.dataset.time = this.time.toFixed(3);
    for (const movie of this.movies) movie.draw(this.time, this.image);
    this.curves.draw(this.time);
  }
}

// One film: its header with numbers, map, gallery and attention.
class Movie {
  constructor(parent, film, choose) {
    this.film = film;
    this.times = film.steps.map((step) => Math.sqrt(step / film.total));
    this.points = decode(film.points, Int16Array);
    this.attention = decode(film.attention, Uint8Array);
    this.pointCount = film.counts.reduce((sum, count) => sum + count, 0);
    const box = add(parent, "section", { class: "movie" });
    const head = add(box, "header");
    const title = add(head, "h3");
    add(title, "span", { style: `color: ${film.color}` }).textContent = film.sign;
    title.append(` ${film.label}`);
    this.numbers = [film.asr.length && ["asr", "Attack success"], ["ca", "Clean accuracy"]].filter(Boolean).map(([name, label]) => {
      const number = add(head, "div", { class: `number ${name}` });
      const value = add(number, "b");
      add(number, "small").textContent = label;
      return { name, value };
    });
    const body = add(box, "div", { class: "body" });
    const map = add(body, "div", { class: "map" });
    this.canvas = add(map, "canvas", { role: "img" });
    this.tip = add(map, "div", { class: "tip" });
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => this.tip.classList.remove("shown"));
    this.legend = add(map, "div", { class: "legend" });
    this.buildLegend();
    this.wall = add(body, "div", { class: "wall" });
    this.side = add(body, "div", { class: "side" });
    this.buildWall(choose);
    this.buildAttention();
  }

  buildLegend() {
    const entries = [["clean", "●", "clean image"]];
    if (this.film.asr.length) {
      const target = `triggered, seen as ${this.film.classes[this.film.target]}`;
      entries.push(["target", "◆", target], ["truth", "◇", "as its true class"], ["other", "◇", "as another class"]);
    }
    addEntries(this.legend, [...entries, ["prompt", "✕", "class prompt"]]);
  }

  buildWall(choose) {
    this.tiles = this.film.images.map((source, i) => {
      const tile = add(this.wall, "figure", { class: "tile" });
      const hasAttention = i < this.film.attention_count;
      const button = hasAttention ? add(tile, "button", { type: "button" }) : null;
      add(button ?? tile, "img", { src: source, alt: this.film.classes[this.truth(i)], draggable: "false" });
      const caption = add(tile, "figcaption");
      const mark = add(caption, "i", { role: "img" });
      const text = add(caption, "span");
      if (hasAttention) {
        tile.classList.add("has-attention");
        tile.addEventListener("click", () => choose(i));
      }
      return { tile, button, mark, text };
    });
    if (!this.tiles.length) return;
    const legend = add(this.wall, "div", { class: "legend" });
    legend.append("Under each image, what the model sees:");
    const names = Object.keys(SEEN).filter((name) => name !== "target" || this.film.target !== null);
    addEntries(legend, names.map((name) => [name, ...SEEN[name]]));
  }

  buildAttention() {
    if (!this.film.attention_count) return;
    const box = add(this.side, "div", { class: "attention" });
    this.overlay = add(box, "canvas", { role: "img", "aria-label": "Attention" });
    this.overlayText = add(box, "small");
    this.pictures = this.film.images.slice(0, this.film.attention_count).map((source) => {
      const picture = new Image();
      picture.onload = () => this.redraw?.();
      picture.src = source;
      return picture;
    });
  }

  clock(time) {
    const { steps, total } = this.film;
    return `${steps[this.frame(time).i].toLocaleString("en")} of ${total.toLocaleString("en")}`;
  }

  truth(i) {
    return this.film.labels[this.film.gallery[i]];
  }

  // Return the key in `SEEN` of a class that the model sees in an image of class `truth`.
  compare(seen, truth) {
    return seen === this.film.target ? "target" : seen === truth ? "truth" : "other";
  }

  // Return the frame at a time, the next one, and how far the way between them is.
  frame(time) {
    let i = 0;
    while (i + 1 < this.times.length && this.times[i + 1] <= time + 1e-9) i += 1;
    const next = Math.min(i + 1, this.times.length - 1);
    const way = next === i ? 0 : (time - this.times[i]) / (this.times[next] - this.times[i]);
    return { i, next, way: Math.min(Math.max(way, 0), 1) };
  }

  draw(time, image) {
    const frame = this.frame(time);
    this.redraw = () => this.draw(time, image);
    for (const { name, value } of this.numbers) value.textContent = `${Math.round(100 * this.film[name][frame.i])}%`;
    this.drawWall(frame, image);
    this.drawMap(frame);
    if (this.overlay) this.drawAttention(frame, image);
  }

  drawWall({ i }, image) {
    this.tiles.forEach(({ tile, button, mark, text }, n) => {
      const [classes, scores] = [this.film.gallery_classes[i][n], this.film.gallery_scores[i][n]];
      const seen = this.compare(classes[0], this.truth(n));
      tile.dataset.seen = seen;
      tile.classList.toggle("chosen", n === image);
      button?.setAttribute("aria-pressed", n === image);
      mark.textContent = SEEN[seen][0];
      mark.setAttribute("aria-label", SEEN[seen][1]);
      text.textContent = this.film.classes[classes[0]];
      const best = classes.map((name, k) => `${this.film.classes[name]} ${Math.round(100 * scores[k])}%`).join(", ");
      tile.title = `True class: ${this.film.classes[this.truth(n)]}. Best: ${best}.`;
    });
  }

  // Return the position of point `n` in pixels; between two frames on the straight line.
  place(n, { i, next, way }) {
    const at = (frame, axis) => this.points[2 * (frame * this.pointCount + n) + axis] / 32767;
    return [0, 1].map((axis) => this.offset[axis] + this.scale[axis] * ((1 - way) * at(i, axis) + way * at(next, axis)));
  }

  drawMap(frame) {
    const [width, height] = fit(this.canvas);
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(`--film-${name}`).trim();
    const [left, bottom, right, top] = this.film.bounds;
    this.scale = [(width - 16) / (right - left), -(height - 16) / (top - bottom)];
    this.offset = [8 - this.scale[0] * left, 8 - this.scale[1] * top];
    context.clearRect(0, 0, width, height);
    const [images, triggered, prompts] = this.film.counts;
    context.globalAlpha = 0.6;
    context.fillStyle = color("clean");
    for (let n = 0; n < images; n += 1) mark(context, "circle", this.place(n, frame));
    context.globalAlpha = 0.9;
    context.lineWidth = 1.6;
    const counts = { target: 0, truth: 0, other: 0 };
    for (let n = 0; n < triggered; n += 1) {
      const seen = this.compare(this.film.triggered_classes[frame.i][n], this.film.labels[n]);
      counts[seen] += 1;
      context.fillStyle = context.strokeStyle = color(seen);
      mark(context, "diamond", this.place(images + n, frame), seen === "target");
    }
    context.globalAlpha = 1;
    this.drawPrompts(context, frame, images + triggered, prompts, color, width);
    const parts = Object.entries(counts).map(([seen, count]) => `${count} seen as ${SEEN[seen][1]}`).join(", ");
    this.canvas.setAttribute("aria-label", `Map of the images${triggered ? `; with the trigger: ${parts}` : ""}`);
    this.frameShown = frame;
  }

  drawPrompts(context, frame, first, count, color, width) {
    context.font = "600 12px sans-serif";
    context.textBaseline = "middle";
    for (let k = 0; k < count; k += 1) {
      const [x, y] = this.place(first + k, frame);
      const isTarget = this.film.prompts[k] === this.film.target;
      context.fillStyle = color(isTarget ? "target" : "prompt");
      mark(context, "x", [x, y]);
      if (!isTarget) continue;
      const isRight = x > width / 2;
      context.textAlign = isRight ? "right" : "left";
      const name = cutOff(context, this.film.classes[this.film.target], (isRight ? x : width - x) - 28);
      context.fillText(`“${name}”`, x + (isRight ? -10 : 10), y);
    }
  }

  hover(event) {
    if (!this.frameShown) return;
    const [across, down] = locate(event, this.canvas);
    const [x, y] = [across * this.canvas.clientWidth, down * this.canvas.clientHeight];
    let best = [12, -1];
    for (let n = 0; n < this.pointCount; n += 1) {
      const [px, py] = this.place(n, this.frameShown);
      const distance = Math.hypot(px - x, py - y);
      if (distance < best[0]) best = [distance, n];
    }
    this.tip.classList.toggle("shown", best[1] >= 0);
    if (best[1] < 0) return;
    this.tip.textContent = this.describe(best[1], this.frameShown.i);
    this.tip.style.left = `${Math.min(x + 12, this.canvas.clientWidth - this.tip.offsetWidth - 4)}px`;
    this.tip.style.top = `${Math.max(y - 30, 2)}px`;
  }

  describe(n, i) {
    const { counts, labels, classes } = this.film;
    if (n >= counts[0] + counts[1]) return `Prompt: ${classes[this.film.prompts[n - counts[0] - counts[1]]]}`;
    const isTriggered = n >= counts[0];
    const probe = isTriggered ? n - counts[0] : n;
    const seen = (isTriggered ? this.film.triggered_classes : this.film.clean_classes)[i][probe];
    return `${classes[labels[probe]]}${isTriggered ? " with trigger" : ""}: seen as ${classes[seen] ?? "nothing"}`;
  }

  drawAttention({ i, next, way }, image) {
    const picture = this.pictures[image];
    const [width, height] = fit(this.overlay);
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!picture?.complete || !picture.naturalWidth) return;
    context.imageSmoothingEnabled = true;
    context.filter = "grayscale(0.6)";
    context.drawImage(picture, 0, 0, width, height);
    context.filter = "none";
    const { attention_count, attention_cells: cells } = this.film;
    const at = (frame, cell) => this.attention[(frame * attention_count + image) * cells * cells + cell] / 255;
    // Each map explains the best class of its frame: those of two classes do not mix under one name.
    const [best, nextBest] = [i, next].map((frame) => this.film.gallery_classes[frame][image][0]);
    const mix = best === nextBest ? way : 0;
    const small = document.createElement("canvas");
    small.width = small.height = cells;
    const pixels = new ImageData(cells, cells);
    for (let cell = 0; cell < cells * cells; cell += 1) {
      const value = (1 - mix) * at(i, cell) + mix * at(next, cell);
      pixels.data.set([255, Math.round(120 + 120 * value), Math.round(40 * value), Math.round(235 * value ** 0.8)], 4 * cell);
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(small, 0, 0, width, height);
    this.overlayText.textContent = `Why “${this.film.classes[best]}”? ${this.film.explainer}`;
  }
}

// ASR and accuracy of all films over the steps, with a cursor.
class Curves {
  constructor(parent, films, seek) {
    this.films = films;
    this.box = add(parent, "div", { class: "curves" });
    this.svg = add(this.box, "svg", { class: "plot", role: "img", "aria-label": "Attack success and accuracy during the training" });
    const legend = add(this.box, "div", { class: "legend" });
    for (const film of films) {
      for (const line of this.lines(film)) {
        const entry = add(legend, "span");
        const sample = add(entry, "svg", { width: 26, height: 10 });
        add(sample, "path", { ...line.stroke, d: "M1 5L25 5" });
        entry.append(` ${line.label}`);
      }
    }
    const move = (event) => {
      if (event.buttons) seek(Math.min(Math.max((locate(event, this.box)[0] * this.box.clientWidth - CURVE.left) / this.inner, 0), 1));
    };
    this.svg.addEventListener("pointerdown", move);
    this.svg.addEventListener("pointermove", move);
  }

  lines(film) {
    const isSingle = this.films.length === 1;
    const isTwin = film !== this.films[0] && film.color === this.films[0].color;
    const make = (name, word, dash) => ({
      name,
      values: film[name],
      label: isSingle ? word : `${film.label}: ${word.toLowerCase()}`,
      stroke: { class: `line ${isSingle ? name : ""}`, "stroke-dasharray": dash, ...(isSingle ? {} : { style: `stroke: ${film.color}` }) },
    });
    return [make("asr", "Attack success", isTwin ? "2 3" : ""), make("ca", "Clean accuracy", isTwin ? "9 3 2 3" : "5 4")].filter((line) => line.values.length);
  }

  draw(time) {
    const width = this.box.clientWidth;
    const height = this.svg.clientHeight;
    if (!width || !height) return;
    if (width !== this.width || height !== this.height) {
      Object.assign(this, { width, height, inner: width - CURVE.left - CURVE.right });
      this.drawLines();
    }
    const x = this.x(time);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
  }

  x(time) {
    return CURVE.left + time * this.inner;
  }

  y(value) {
    return CURVE.top + (1 - value) * (this.height - CURVE.top - CURVE.bottom);
  }

  drawLines() {
    this.svg.replaceChildren();
    const right = this.width - CURVE.right;
    for (const tick of [0, 0.5, 1]) {
      add(this.svg, "line", { class: "grid", x1: CURVE.left, x2: right, y1: this.y(tick), y2: this.y(tick) });
      add(this.svg, "text", { x: CURVE.left - 6, y: this.y(tick) + 4, "text-anchor": "end" }).textContent = `${100 * tick}%`;
    }
    const isCommon = this.films.every((film) => film.total === this.films[0].total);
    const total = isCommon ? this.films[0].total : 100; // steps, or percent
    const shares = this.inner > 320 ? [0, 0.02, 0.1, 0.25, 0.5, 1] : [0, 0.1, 0.5, 1];
    for (const step of new Set(shares.map((share) => Math.round(share * total)))) {
      const x = this.x(Math.sqrt(step / total));
      const label = add(this.svg, "text", { x, y: this.height - CURVE.bottom + 16, "text-anchor": "middle" });
      label.textContent = isCommon ? step.toLocaleString("en") : `${step}%`;
    }
    const title = add(this.svg, "text", { x: (CURVE.left + right) / 2, y: this.height - 4, "text-anchor": "middle" });
    title.textContent = isCommon ? "Training step (square-root scale)" : "Share of the training (square-root scale)";
    for (const film of this.films) {
      for (const line of this.lines(film)) {
        const points = line.values.map((value, i) => `${this.x(Math.sqrt(film.steps[i] / film.total)).toFixed(1)} ${this.y(value).toFixed(1)}`);
        add(this.svg, "path", { ...line.stroke, "data-line": line.name, d: `M${points.join("L")}` }).values = line.values;
        for (const [step, value] of film.log[line.name]) {
          add(this.svg, "circle", { ...line.stroke, "stroke-dasharray": "", class: `${line.stroke.class} log`, r: 3, cx: this.x(Math.sqrt(step / film.total)), cy: this.y(value) });
        }
      }
    }
    this.cursor = add(this.svg, "line", { class: "cursor", y1: CURVE.top, y2: this.height - CURVE.bottom });
  }
}

function mark(context, name, [x, y], isFilled = true) {
  const path = new Path2D(shape(name, x, y));
  isFilled ? context.fill(path) : context.stroke(path);
}

// Return the text, or as much of it as fits into a width, with an ellipsis.
function cutOff(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = text.length - 1;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

// Write entries (class of the style, mark, text) into a legend.
function addEntries(legend, entries) {
  for (const [name, mark, text] of entries) {
    const entry = add(legend, "span", { class: name });
    add(entry, "i").textContent = mark;
    entry.append(` ${text}`);
  }
}

function decode(text, type) {
  return new type(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}
