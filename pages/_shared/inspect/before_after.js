// Two states of the same panels, one on each side of a line that the user moves. Panels of one kind share their zoom.
// A place on a panel is given in shares of its side; zoom: the panel's side is `scale` times as long and starts at x, y.
const GRAB = 9; // px around the line in which a drag moves it
const MAX_SCALE = 16;
const PAN = 0.1; // share of the side that an arrow key moves a zoomed panel
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const shares = new Map(); // key -> share of the width that shows the state before; kept while pages change
const zooms = new Map(); // kind -> zoom, kept likewise

class View {
  constructor(parent) {
    this.root = parent.querySelector(".before-after");
    this.root.replaceChildren(); // those of a view that was stopped
    const bar = add(this.root, "div", { class: "bar" });
    this.before = add(bar, "b", { class: "before" });
    this.slider = add(bar, "input", { type: "range", min: 0, max: 1000, "aria-label": "Before and after" });
    this.after = add(bar, "b", { class: "after" });
    for (const [text, label, factor] of [["−", "Zoom out", 1 / 1.5], ["+", "Zoom in", 1.5], ["⟲", "Reset zoom", 0]]) {
      const button = add(bar, "button", { type: "button", "aria-label": label, title: label });
      button.textContent = text;
      button.addEventListener("click", () => this.zoomAll(factor));
    }
    this.slider.addEventListener("input", () => this.move(this.slider.value / 1000));
    this.box = add(this.root, "div", { class: "panels" });
    this.panels = [];
    this.resizes = new ResizeObserver(() => this.draw());
    this.resizes.observe(this.root);
  }

  stop() {
    this.resizes.disconnect();
  }

  receive({ data }) {
    this.data = data;
    [this.before, this.after].forEach((name, i) => {
      const sign = document.createElement("i"); // only the sign is colored: as letters, some colors are too pale
      sign.textContent = data.signs[i];
      sign.style.color = data.colors[i];
      name.replaceChildren(sign, ` ${data.labels[i]}`);
    });
    while (this.panels.length > data.panels.length) this.panels.pop().box.remove();
    while (this.panels.length < data.panels.length) this.panels.push(new Panel(this));
    this.panels.forEach((panel, i) => panel.receive(data.panels[i]));
    this.draw();
  }

  get share() {
    return shares.get(this.data.key) ?? this.data.start;
  }

  move(share) {
    shares.set(this.data.key, Math.min(Math.max(share, 0), 1));
    this.draw();
  }

  zoomAll(factor) {
    for (const kind of new Set(this.panels.map((panel) => panel.data.kind))) {
      if (factor) zoomAbout(kind, factor, 0.5, 0.5);
      else zooms.delete(kind);
    }
    this.draw();
  }

  draw() {
    if (!this.data || !this.root.clientWidth) return;
    this.slider.value = Math.round(1000 * this.share);
    this.slider.setAttribute("aria-valuetext", `${Math.round(100 * this.share)}% ${this.data.labels[0]}`);
    this.root.dataset.share = this.share.toFixed(3);
    this.before.classList.toggle("hidden-state", this.share <= 0); // where only one state is seen, its name stands out
    this.after.classList.toggle("hidden-state", this.share >= 1);
    for (const panel of this.panels) panel.draw(this.share);
  }
}

function findZoom(kind) {
  return zooms.get(kind) ?? { scale: 1, x: 0, y: 0 };
}

// Keep the panel covered: no empty space beside a zoomed image.
function setZoom(kind, scale, x, y) {
  scale = Math.min(Math.max(scale, 1), MAX_SCALE);
  zooms.set(kind, { scale, x: Math.min(Math.max(x, 1 - scale), 0), y: Math.min(Math.max(y, 1 - scale), 0) });
}

function zoomAbout(kind, factor, x, y) {
  const old = findZoom(kind);
  const scale = Math.min(Math.max(old.scale * factor, 1), MAX_SCALE);
  setZoom(kind, scale, x - ((x - old.x) * scale) / old.scale, y - ((y - old.y) * scale) / old.scale);
}

class Panel {
  constructor(view) {
    this.view = view;
    this.pictures = new Map(); // by their data URI, so that the same ones stay while the page is drawn again
    this.box = add(view.box, "figure");
    this.title = add(this.box, "figcaption");
    this.canvas = add(this.box, "canvas", { tabindex: 0, role: "img" });
    this.canvas.panel = this; // for tests
    this.legend = add(this.box, "div", { class: "legend" });
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "wheel", "dblclick", "keydown"]) {
      this.canvas.addEventListener(name, (event) => this[name](event), { passive: !["wheel", "keydown"].includes(name) });
    }
  }

  receive(data) {
    this.data = data;
    this.title.textContent = data.title;
    this.canvas.setAttribute("aria-label", data.title || (data.kind === "map" ? "Map" : "Image"));
    const known = this.pictures;
    this.pictures = new Map(data.layers.flatMap((layer) => layer.images ?? []).map((source) => [source, known.get(source) ?? this.load(source)]));
    this.layers = data.layers.map((layer) => ({ ...layer, pictures: (layer.images ?? []).map((source) => this.pictures.get(source)) }));
    this.legend.replaceChildren();
    for (const { name, color, edge, symbol } of data.legend ?? []) {
      const entry = add(this.legend, "span");
      const mark = add(entry, "svg", { width: 14, height: 14 });
      add(mark, "path", { d: shape(symbol, 7, 7), fill: color, stroke: edge });
      add(entry, "span").textContent = name;
    }
  }

  load(source) {
    const picture = new Image();
    picture.onload = () => this.view.draw();
    picture.src = source;
    return picture;
  }

  get zoom() {
    return findZoom(this.data.kind);
  }

  pointerdown(event) {
    if (event.button || !event.isPrimary) return;
    const [x, y] = locate(event, this.canvas);
    const isLine = Math.abs(x - this.view.share) * this.canvas.clientWidth < GRAB;
    this.drag = { x, y, zoom: this.zoom, isLine };
    this.canvas.setPointerCapture(event.pointerId);
  }

  pointermove(event) {
    if (!event.isPrimary) return;
    const [x, y] = locate(event, this.canvas);
    const isNear = Math.abs(x - this.view.share) * this.canvas.clientWidth < GRAB;
    this.canvas.classList.toggle("near", isNear);
    if (!event.buttons) this.drag = null; // its end was not heard
    if (!this.drag) return;
    const { zoom } = this.drag, [dx, dy] = [x - this.drag.x, y - this.drag.y];
    if (this.drag.isLine) return this.view.move(x);
    setZoom(this.data.kind, zoom.scale, zoom.x + dx, zoom.y + dy);
    this.view.draw();
  }

  pointerup(event) {
    if (event.isPrimary) this.drag = null;
  }

  pointercancel() {
    this.drag = null;
  }

  wheel(event) {
    if (this.canvas.getRootNode().activeElement !== this.canvas && !event.ctrlKey) return; // else the page scrolls
    event.preventDefault();
    zoomAbout(this.data.kind, Math.exp(-event.deltaY / 400), ...locate(event, this.canvas));
    this.view.draw();
  }

  keydown(event) {
    const { scale, x, y } = this.zoom, arrow = ARROWS[event.key];
    if (!arrow || scale === 1 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation(); // in stage mode, arrows change the page
    setZoom(this.data.kind, scale, x - PAN * arrow[0], y - PAN * arrow[1]);
    this.view.draw();
  }

  dblclick() {
    zooms.delete(this.data.kind);
    this.view.draw();
  }

  draw(share) {
    const [width, height] = fit(this.canvas);
    this.canvas.classList.toggle("zoomed", this.zoom.scale > 1);
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const line = share * width;
    this.layers.forEach((layer, i) => {
      context.save();
      context.beginPath();
      context.rect(i ? line : 0, 0, i ? width - line : line, height);
      context.clip();
      this.drawLayer(context, layer, width, height);
      context.restore();
    });
    if (share <= 0 || share >= 1) return;
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(line, 0);
    context.lineTo(line, height);
    context.stroke();
  }

  drawLayer(context, layer, width, height) {
    const { scale, x, y } = this.zoom;
    context.imageSmoothingEnabled = false;
    for (const picture of layer.pictures) {
      if (picture.complete && picture.naturalWidth) context.drawImage(picture, x * width, y * height, scale * width, scale * height);
    }
    context.lineWidth = 1;
    for (const { points, color, edge, symbol, is_faint } of layer.groups ?? []) {
      context.fillStyle = color;
      context.strokeStyle = edge;
      context.globalAlpha = is_faint ? 0.3 : 0.8;
      for (const [px, py] of points) {
        const mark = new Path2D(shape(symbol, (x + scale * px) * width, (y + scale * py) * height));
        context.fill(mark);
        context.stroke(mark);
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.lineWidth = 2;
    for (const [px, py] of layer.marks ?? []) {
      context.beginPath();
      context.arc((x + scale * px) * width, (y + scale * py) * height, 9, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
