// The image on the left: choose a scene, drag, resize or draw the trigger, drop an image of your own.

const BRUSH = 4; // px of a 64 px image

class Stage {
  /** @param {App} app @param {Element} root */
  constructor(app, root) {
    this.app = app;
    this.frame = add(root, "div", { class: "frame" });
    this.canvas = add(this.frame, "canvas", { role: "img" });
    this.box = add(this.frame, "div", { class: "box", tabindex: 0, role: "slider", "aria-label": "Place of the trigger", "aria-valuemin": 0, "aria-valuemax": app.side });
    this.caption = add(root, "p", { class: "caption" });
    const row = add(root, "div", { class: "row" });
    this.toggle = this.button(row, "Trigger", () => app.change({ on: !app.state.on }));
    this.home = this.button(row, "Reset", () => this.reset());
    this.pen = this.button(row, "Draw", () => this.setDrawing(!this.isDrawing));
    // A page of the app that shows one image has its own choice of it.
    this.isFixed = app.scenes.length === 1;
    const file = add(row, "label", { class: "button", tabindex: 0 }, "Your image");
    this.file = add(file, "input", { type: "file", accept: "image/*", tabindex: -1 });
    file.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && this.file.click());
    this.file.addEventListener("change", () => this.readPhoto(this.file.files[0]));
    this.ink = add(row, "input", { type: "color", value: "#ffffff", "aria-label": "Color" });
    this.size = this.slider(root, "Size", 2, app.side / 2, (value) => this.resize(value));
    this.strength = this.slider(root, "Strength", 0, 100, (value) => app.change({ strength: value / 100, on: true }));
    file.hidden = this.isFixed;
    this.strip = add(root, "div", { class: "strip", role: "group", "aria-label": "Scenes" });
    app.scenes.forEach((scene, i) => {
      const name = app.page.classes[app.page.scenes.labels[i]];
      const button = this.button(this.strip, "", () => this.chooseScene(i));
      button.setAttribute("aria-label", `Scene ${i + 1}: ${name}`);
      paint(add(button, "canvas"), scene, app.side);
    });
    enableArrows(this.strip, (button) => button.click());
    this.isDrawing = this.isHeld = false;
    this.corner = [0, 0];
    /** @type {Map<number, number[]>} pixel -> color */
    this.drawing = new Map();
    this.strip.hidden = this.isFixed;
    this.listen(root);
  }

  /** @param {Element} parent @param {string} text @param {() => void} act */
  button(parent, text, act) {
    const button = add(parent, "button", { type: "button" }, text);
    button.addEventListener("click", act);
    return button;
  }

  /** @param {Element} parent @param {string} text @param {number} min @param {number} max @param {(value: number) => void} act */
  slider(parent, text, min, max, act) {
    const label = add(parent, "label", { class: "size" });
    add(label, "span", {}, text);
    const input = add(label, "input", { type: "range", min, max });
    input.addEventListener("input", () => act(Number(input.value)));
    return { input, output: add(label, "output") };
  }

  /** @param {Element} root */
  listen(root) {
    const { app, frame } = this;
    frame.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.button || !(this.isDrawing || app.canMove)) return;
      event.preventDefault();
      this.box.focus({ preventScroll: true });
      frame.setPointerCapture(event.pointerId);
      this.isHeld = true;
      this.follow(event);
    });
    frame.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.isHeld && this.follow(event));
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, () => (this.isHeld = false));
    this.box.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event));
    root.addEventListener("dragover", (event) => event.preventDefault());
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!this.isFixed) this.readPhoto(/** @type {DragEvent} */ (event).dataTransfer?.files[0]);
    });
  }

  // Move the trigger under the pointer, or draw there.
  /** @param {PointerEvent} event */
  follow(event) {
    const { app } = this;
    const [x, y] = locate(event, this.frame).map((share) => Math.floor(share * app.side));
    if (!this.isDrawing) return this.moveTo(x - (app.patch.width >> 1), y - (app.patch.height >> 1));
    const color = [1, 3, 5].map((at) => parseInt(this.ink.value.slice(at, at + 2), 16));
    for (let i = 0; i < BRUSH * BRUSH; i++) {
      const [column, row] = [x - BRUSH / 2 + (i % BRUSH), y - BRUSH / 2 + Math.floor(i / BRUSH)];
      if (Math.min(column, row) >= 0 && Math.max(column, row) < app.side) this.drawing.set(row * app.side + column, color);
    }
    app.drawn = this.makePatch();
    const [left, top] = this.corner;
    app.version++;
    app.change({ x: left, y: top, size: app.drawn.width, on: true });
  }

  /** Return what was drawn as a patch; the rest of its box leaves the image as it is. */
  makePatch() {
    const { side } = this.app;
    const [xs, ys] = [[...this.drawing.keys()].map((at) => at % side), [...this.drawing.keys()].map((at) => Math.floor(at / side))];
    const [left, top] = (this.corner = [Math.min(...xs), Math.min(...ys)]);
    const [width, height] = [Math.max(...xs) - left + 1, Math.max(...ys) - top + 1];
    const patch = { width, height, gain: new Float32Array(3 * width * height).fill(1), shift: new Float32Array(3 * width * height) };
    for (const [at, color] of this.drawing) {
      const to = 3 * ((Math.floor(at / side) - top) * width + (at % side) - left);
      patch.gain.fill(0, to, to + 3);
      patch.shift.set(color.map((value) => value / 255), to);
    }
    return patch;
  }

  /** @param {number} x @param {number} y */
  moveTo(x, y) {
    const { app } = this;
    const inside = (/** @type {number} */ at, /** @type {number} */ size) => Math.max(0, Math.min(app.side - size, at));
    const [left, top] = [inside(x, app.patch.width), inside(y, app.patch.height)];
    if (left !== app.state.x || top !== app.state.y || !app.state.on) app.change({ x: left, y: top, on: true });
  }

  /** @param {number} size */
  resize(size) {
    const { app } = this;
    app.change({ size: Math.max(2, Math.min(app.side / 2, size)), on: true });
    if (app.state.x >= 0) this.moveTo(app.state.x, app.state.y);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const { app } = this;
    if (!app.canMove) return;
    const step = event.shiftKey ? 8 : 1;
    const [left, top] = app.places[0];
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => this.moveTo(left - step, top),
      ArrowRight: () => this.moveTo(left + step, top),
      ArrowUp: () => this.moveTo(left, top - step),
      ArrowDown: () => this.moveTo(left, top + step),
      "+": () => this.resize(app.state.size + 1),
      "-": () => this.resize(app.state.size - 1),
      Home: () => this.reset(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // in the app's stage mode, arrows change the page
    keys[event.key]();
  }

  reset() {
    this.app.drawn = null;
    this.app.version++;
    this.drawing.clear();
    this.setDrawing(false);
    this.app.change({ x: -1, y: -1, size: this.app.own.patch.width, strength: 1, on: true });
  }

  /** @param {boolean} isDrawing */
  setDrawing(isDrawing) {
    this.isDrawing = isDrawing;
    this.drawing.clear(); // a new drawing starts empty
    this.update();
  }

  /** @param {number} scene */
  chooseScene(scene) {
    this.app.photo = null;
    this.app.change({ scene });
  }

  // Crop an image to its center square, as the models were trained to see it.
  /** @param {File | undefined} file */
  async readPhoto(file) {
    const { app } = this;
    const bitmap = file && (await createImageBitmap(file).catch(() => null));
    if (!bitmap) return void (this.caption.textContent = "This file is no image: choose a PNG or JPEG.");
    const [canvas, short] = [document.createElement("canvas"), Math.min(bitmap.width, bitmap.height)];
    [canvas.width, canvas.height] = [app.side, app.side];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, app.side, app.side);
    context.drawImage(bitmap, (bitmap.width - short) / 2, (bitmap.height - short) / 2, short, short, 0, 0, app.side, app.side);
    const { data } = context.getImageData(0, 0, app.side, app.side);
    app.photo = new Uint8Array((data.length / 4) * 3).map((_, i) => data[4 * Math.floor(i / 3) + (i % 3)]);
    app.version++;
    app.change({});
  }

  update() {
    const { app } = this;
    const { state, page, side } = app;
    paint(this.canvas, app.shown, side);
    const name = app.truth < 0 ? "your image" : page.classes[app.truth];
    const what = this.drawing.size || app.drawn ? "your drawing" : page.trigger.label;
    this.canvas.setAttribute("aria-label", `${name}${state.on ? `, with the trigger (${what})` : ""}`);
    const isMissing = app.photo && page.trigger.kind === "fixed" && !app.drawn;
    const why = app.canMove ? "" : isMissing ? ", which was computed for the scenes alone" : ". It changes the whole image, so it cannot be moved: draw one that can";
    this.caption.textContent = `True class: ${name}. Trigger: ${state.on ? what + why : "off"}`;
    this.caption.classList.toggle("needed", why !== "");
    const { width, height } = app.patch;
    const [left, top] = app.places[0];
    this.box.hidden = !app.canMove || !state.on || this.isDrawing;
    Object.assign(this.box.style, { left: `${(100 * left) / side}%`, top: `${(100 * top) / side}%`, width: `${(100 * width) / side}%`, height: `${(100 * height) / side}%` });
    this.box.setAttribute("aria-valuenow", left);
    this.box.setAttribute("aria-valuetext", `${left} px from the left, ${top} px from the top, ${width} px wide`);
    this.toggle.setAttribute("aria-pressed", String(state.on));
    this.pen.setAttribute("aria-pressed", String(this.isDrawing));
    this.ink.hidden = !this.isDrawing;
    this.frame.classList.toggle("drawing", this.isDrawing);
    this.size.input.disabled = !app.canMove;
    this.size.input.value = String(width);
    this.size.output.textContent = `${width} px`;
    this.strength.input.value = String(Math.round(100 * state.strength));
    this.strength.output.textContent = percent(state.strength);
    [...this.strip.children].forEach((button, i) => {
      const isChosen = !app.photo && i === state.scene;
      button.setAttribute("aria-pressed", String(isChosen));
      /** @type {HTMLElement} */ (button).tabIndex = i === state.scene ? 0 : -1;
    });
  }
}
