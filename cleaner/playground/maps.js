// 3. Where does the trigger work? 4. What does a model look at? Both are maps that are painted as they are computed.

const [STEP, COVER] = [4, 12]; // px between two tries; side of the gray square

/** An image under a map of cells, from see-through (0) to the color (1). */
class HeatMap {
  /** @param {Element} parent @param {string} title @param {string} color */
  constructor(parent, title, color) {
    this.root = add(parent, "figure", { class: "map" });
    add(this.root, "h3", {}, title);
    this.frame = add(this.root, "div", { class: "frame" });
    this.image = add(this.frame, "canvas");
    this.heat = add(this.frame, "canvas", { role: "img" });
    this.caption = add(this.root, "figcaption");
    this.count = this.hits = 0;
    this.rgb = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  }

  /** @param {Uint8Array} pixels @param {number} side @param {number} perSide */
  clear(pixels, side, perSide) {
    paint(this.image, pixels, side);
    [this.heat.width, this.heat.height] = [8 * perSide, 8 * perSide];
    this.count = this.hits = 0;
  }

  // Fill a cell, and what is still open around it.
  /** @param {number[]} cell @param {number} value @param {boolean} isHit */
  fill([x, y], value, isHit) {
    const context = this.heat.getContext("2d");
    const span = 8 * findSpan(x, y);
    context.clearRect(8 * x, 8 * y, span, span);
    context.fillStyle = `rgba(${this.rgb.join()},${0.9 * Math.max(0, Math.min(1, value))})`;
    context.fillRect(8 * x, 8 * y, span, span);
    context.fillStyle = "#fff";
    if (isHit) context.fillRect(8 * x + 3, 8 * y + 3, 2, 2); // a mark that needs no color
    this.count++;
    this.hits += Number(isHit);
  }
}

class PositionView {
  /** @param {App} app @param {Element} root */
  constructor(app, root) {
    this.app = app;
    this.key = "";
    const grid = add(root, "div", { class: "maps" });
    this.note = add(root, "p", { class: "numbers" });
    this.maps = app.page.models.map((model) => new HeatMap(grid, `${model.sign} ${model.label}`, "#d55e00"));
  }

  update() {
    const { app } = this;
    this.maps.forEach((map, i) => (map.root.hidden = !app.models.includes(i)));
    const one = `One image, probability among ${app.page.classes.length} classes. Runs: ${[...new Set(app.models.map((i) => app.page.models[i].run))].join(", ")}.`;
    this.note.textContent = app.canMove ? one : "This trigger covers the whole image and has no place: draw one of your own to see a map.";
    const { scene, size, shown } = app.state;
    const key = [scene, size, shown, app.version].join();
    if (app.state.tab !== "where" || !app.canMove) return app.stop("position"), void (this.key = "");
    if (key === this.key) return;
    this.key = key;
    const { patch, models, clean, side, page } = app;
    const { perSide, cells, places } = listPlaces(side, Math.max(patch.width, patch.height), STEP);
    for (const model of models) this.maps[model].clear(clean, side, perSide);
    app.ask("position", { models, image: clean, patch, places }, ({ cell, model, value, isHit }) => {
      const map = this.maps[model];
      map.fill(cells[cell], value, isHit);
      map.caption.textContent = `${page.classes[page.target]} at ${map.hits} of ${map.count} places`;
      map.heat.setAttribute("aria-label", map.caption.textContent);
    });
  }
}

class OcclusionView {
  /** @param {App} app @param {Element} root */
  constructor(app, root) {
    this.app = app;
    this.key = "";
    this.at = [(app.side - COVER) / 2, (app.side - COVER) / 2];
    const grid = add(root, "div", { class: "pair maps" });
    this.maps = [0, 1].map((i) => {
      const map = new HeatMap(grid, `${app.page.models[i].sign} ${app.page.models[i].label}`, "#cc79a7");
      const square = add(map.frame, "div", { class: "cover", tabindex: 0, role: "slider", "aria-label": "Gray square", "aria-valuemin": 0, "aria-valuemax": app.side });
      map.frame.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.moveTo(locate(event, map.frame).map((share) => Math.round(share * app.side - COVER / 2))));
      map.frame.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => event.preventDefault());
      square.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event));
      return { map, square, bars: new Bars(map.root, app.page) };
    });
    const runs = app.page.models.slice(0, 2).map(({ run }) => run);
    add(root, "p", { class: "numbers" }, `One image, a square of ${COVER} px every ${STEP} px. Run: ${[...new Set(runs)].join(", ")}.`);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const [x, y] = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2] }[event.key] ?? [0, 0];
    if (!x && !y) return;
    event.preventDefault();
    this.moveTo([this.at[0] + x, this.at[1] + y]);
  }

  /** @param {number[]} corner */
  moveTo(corner) {
    this.at = corner.map((at) => Math.max(0, Math.min(this.app.side - COVER, at)));
    this.look();
  }

  look() {
    const { app, at } = this;
    const [left, top] = at;
    const images = [app.shown, cover(app.shown, app.side, COVER, left, top)];
    for (const { square } of this.maps) {
      Object.assign(square.style, { left: `${(100 * left) / app.side}%`, top: `${(100 * top) / app.side}%`, width: `${(100 * COVER) / app.side}%`, height: `${(100 * COVER) / app.side}%` });
      square.setAttribute("aria-valuenow", left);
      square.setAttribute("aria-valuetext", `${left} px from the left, ${top} px from the top`);
    }
    const { truth } = app;
    /** @type {Float32Array[]} */
    const before = [];
    app.askLatest("cover", { models: [0, 1], images }, ({ model, ranks }) => {
      before[model] = ranks[0];
      this.maps[model].bars.show(ranks[0], ranks[1], truth);
      if (model === 1) this.map(before);
    });
  }

  /** @param {Float32Array[]} before probabilities of the whole image */
  map(before) {
    const { app } = this;
    const { scene, x, y, size, on, tab } = app.state;
    const key = [scene, x, y, size, on, app.version].join();
    if (key === this.key || tab !== "what") return;
    this.key = key;
    const classes = before.map(findBest);
    const { perSide, cells, places } = listPlaces(app.side, COVER, STEP);
    for (const { map } of this.maps) map.clear(app.shown, app.side, perSide);
    app.ask("occlusion", { models: [0, 1], classes, image: app.shown, size: COVER, places }, ({ cell, model, value }) => {
      const { map } = this.maps[model];
      const whole = before[model][classes[model]];
      map.fill(cells[cell], (whole - value) / whole, false);
      map.caption.textContent = `What “${app.page.classes[classes[model]]}” (${percent(whole)}) rests on; ${map.count} of ${places.length} squares tried`;
      map.heat.setAttribute("aria-label", map.caption.textContent);
    });
  }

  update() {
    if (this.app.state.tab !== "what") return this.app.stop("occlusion"), void (this.key = "");
    this.look();
  }
}
