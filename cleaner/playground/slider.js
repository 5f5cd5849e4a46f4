// 2. The weight slider: all weights on a straight line from the clean to the backdoored to a cleaned model.

const POINTS = 10; // of the curves, on each leg of the way

class SliderView {
  /** @param {App} app @param {Element} root */
  constructor(app, root) {
    this.app = app;
    const bar = add(root, "div", { class: "way" });
    this.ends = add(bar, "div", { class: "ends" });
    this.slider = add(bar, "input", { type: "range", min: 0, step: 0.01, "aria-label": "Weights" });
    this.slider.addEventListener("input", () => app.change({ mix: Number(this.slider.value) }));
    this.choice = add(bar, "div", { class: "choice", role: "group", "aria-label": "Cleaned by" });
    app.page.models.forEach((model, i) => {
      if (i < 2) return;
      const button = add(this.choice, "button", { type: "button", "data-model": i }, `${model.sign} ${model.label}`);
      button.addEventListener("click", () => app.change({ cleaned: i }));
    });
    const pair = add(root, "div", { class: "pair" });
    this.bars = ["Without the trigger", "With the trigger"].map((title) => {
      const card = add(pair, "article", { class: "card" });
      add(card, "h3", {}, title);
      return new Bars(card, app.page);
    });
    this.chart = add(root, "svg", { class: "chart", role: "img" });
    this.note = add(root, "p", { class: "numbers" });
    this.asked = "";
    /** @type {Map<string, {position: number, accuracy: number, success: number}[]>} way -> points */
    this.known = new Map();
  }

  get path() {
    const { page, state } = this.app;
    return page.models.length > 2 ? [0, 1, state.cleaned] : [0, 1];
  }

  get points() {
    return this.known.get(this.path.join()) ?? [];
  }

  update() {
    const { app, path } = this;
    if (app.state.tab !== "mix") return app.stop("curve"), void (this.asked = "");
    const last = path.length - 1;
    const position = Math.min(app.state.mix, last);
    this.slider.max = String(last);
    this.slider.value = String(position);
    this.slider.setAttribute("aria-valuetext", this.name(position));
    this.ends.replaceChildren();
    for (const model of path) add(this.ends, "span", {}, `${app.page.models[model].sign} ${app.page.models[model].label}`);
    for (const button of this.choice.children) {
      button.setAttribute("aria-pressed", String(Number(button.getAttribute("data-model")) === app.state.cleaned));
    }
    app.askLatest("mix", { path, position, images: [app.clean, app.triggered] }, ({ ranks }) => {
      this.bars[0].show(ranks[0], ranks[0], app.truth);
      this.bars[1].show(ranks[0], ranks[1], app.truth);
    });
    this.askForCurve();
    this.draw();
  }

  askForCurve() {
    const key = this.path.join();
    if (this.asked === key) return;
    this.asked = key;
    const points = this.known.get(key) ?? [];
    this.known.set(key, points);
    const all = Array.from({ length: POINTS * (this.path.length - 1) + 1 }, (_, i) => i);
    const level = (/** @type {number} */ i) => [10, 5, 1].findIndex((step) => i % step === 0); // coarse first
    const missing = all.sort((a, b) => level(a) - level(b)).map((i) => i / POINTS).filter((at) => !points.some(({ position }) => position === at));
    this.app.ask("curve", { path: this.path, positions: missing }, (point) => {
      points.push(point);
      points.sort((a, b) => a.position - b.position);
      this.draw();
    });
  }

  /** @param {number} position */
  name(position) {
    const leg = Math.min(Math.floor(position), this.path.length - 2);
    const [from, to] = [leg, leg + 1].map((i) => this.app.page.models[this.path[i]].label);
    const share = Math.round(100 * (position - leg));
    return share === 0 ? from : share === 100 ? to : `${100 - share}% ${from}, ${share}% ${to}`;
  }

  draw() {
    const { app, chart, points } = this;
    const last = this.path.length - 1;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const [width, height] = [chart.clientWidth - parseFloat(getComputedStyle(chart).paddingLeft) - rem, chart.clientHeight - 2.1 * rem];
    const x = (/** @type {number} */ position) => rem / 2 + (width * position) / last;
    const y = (/** @type {number} */ share) => rem / 2 + height * (1 - share);
    chart.replaceChildren();
    for (const share of [0, 0.5, 1]) {
      add(chart, "line", { class: "grid", x1: x(0), x2: x(last), y1: y(share), y2: y(share) });
      add(chart, "text", { x: 0, y: y(share) + rem / 4, "text-anchor": "end" }, percent(share));
    }
    this.path.forEach((model, i) => {
      const anchor = i === 0 ? "start" : i === last ? "end" : "middle";
      add(chart, "text", { class: "end", x: x(i), y: height + 1.9 * rem, "text-anchor": anchor }, app.page.models[model].label);
    });
    for (const name of /** @type {const} */ (["accuracy", "success"])) {
      const path = points.map((point) => `${x(point.position).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("L");
      if (path) add(chart, "path", { class: `line ${name}`, d: `M${path}` });
    }
    const position = Math.min(app.state.mix, last);
    add(chart, "line", { class: "cursor", x1: x(position), x2: x(position), y1: y(1), y2: y(0) });
    const near = points.reduce((best, point) => (Math.abs(point.position - position) < Math.abs(best.position - position) ? point : best), points[0]);
    const [n, attacked] = [app.scenes.length, app.page.scenes.labels.filter((label) => label !== app.page.target).length];
    if (!near) return void (this.note.textContent = "Computing the curves ...");
    add(chart, "circle", { class: "dot accuracy", cx: x(near.position), cy: y(near.accuracy), r: rem / 3 });
    add(chart, "circle", { class: "dot success", cx: x(near.position), cy: y(near.success), r: rem / 3 });
    const parts = [
      [`● Accuracy ${percent(near.accuracy)} of ${n} scenes`, "accuracy"],
      [`■ Attack success ${percent(near.success)} of ${attacked} that show no ${app.page.classes[app.page.target]}`, "success"],
    ];
    this.note.replaceChildren();
    for (const [text, name] of parts) add(this.note, "span", { class: name }, text);
    add(this.note, "span", {}, `at ${this.name(near.position)}; run ${app.page.models[1].run}.`);
    chart.setAttribute("aria-label", parts.map(([text]) => text).join(", "));
    chart.dataset.points = points.length;
  }
}
