// Training curves; those of live runs grow in place: a clock asks the server for new points while the tab is visible.
const HEIGHT = 262;
const LEFT = 56, RIGHT = 14, TOP = 10, BOTTOM = 42;
const ANSWER_MS = 15000; // ask again if the server has not answered by then
const BUSY_MS = 250; // look again whether the page still runs
const SCRIPT_STATE = "data-test-script-state";
const RERUNS = '[data-testid="stPageLink"] a, [data-testid="stButton"] button';
const MAX_POINTS = 2000; // of a line; then every second one is dropped, and every second later one
const DASHES = { dash: "9 6", dot: "2 4", dashdot: "9 4 2 4", longdash: "15 6", longdashdot: "15 4 2 4" };

class View {
  constructor(parent) {
    this.heldUntil = 0; // Date.now() before which nothing is asked
    this.root = parent.querySelector(".charts");
    this.root.replaceChildren(); // those of a view that was stopped
    this.runs = new Map();
    this.charts = new Map();
    this.listening = new AbortController();
    const { signal } = this.listening;
    document.addEventListener("visibilitychange", () => this.wait(document.hidden ? null : 0), { signal });
    const hold = () => this.hold(ANSWER_MS);
    document.addEventListener("click", (event) => event.target.closest?.(RERUNS) && hold(), { signal, capture: true });
    // A key of the stage mode reruns the page; most keys that a widget handles do not, and nothing would end the hold.
    const isStageKey = (event) => event.defaultPrevented && document.querySelector(".st-key-stage");
    window.addEventListener("keydown", (event) => isStageKey(event) && hold(), { signal });
    window.addEventListener("popstate", hold, { signal });
    this.reruns = new MutationObserver(() => isRunning() && this.hold(0));
    this.reruns.observe(findApp(), { attributeFilter: [SCRIPT_STATE] });
    this.resizes = new ResizeObserver(() => this.draw());
    this.resizes.observe(this.root);
  }

  stop() {
    this.wait(null);
    this.listening.abort();
    this.reruns.disconnect();
    this.resizes.disconnect();
  }

  wait(milliseconds) {
    clearTimeout(this.timer);
    if (milliseconds !== null && !document.hidden) this.timer = setTimeout(() => this.ask(), milliseconds);
  }

  // Ask nothing until the rerun that was just requested has begun. A question in between carries the page that is being
  // left: Streamlit would answer it after the new page's run as another change of page, and clear the whole window.
  hold(milliseconds) {
    this.heldUntil = Date.now() + milliseconds;
  }

  ask() {
    if (!this.data.milliseconds) return; // of finished runs nothing new will come
    if (isRunning() || Date.now() < this.heldUntil) return this.wait(BUSY_MS);
    const cursors = Object.fromEntries([...this.runs].map(([id, run]) => [id, run.cursor]));
    this.send({ layout: this.data.layout, cursors });
    this.wait(ANSWER_MS);
  }

  receive({ data, setTriggerValue }) {
    this.send = (cursors) => setTriggerValue("tick", cursors);
    const known = this.data?.layout === data.layout ? this.runs : new Map();
    this.data = data;
    this.runs = new Map(data.runs.map((run) => [run.id, merge(known.get(run.id), run)]));
    this.draw();
    this.wait(data.milliseconds);
  }

  draw() {
    if (!this.root.clientWidth || !this.data) return;
    this.root.classList.toggle("single", this.data.is_single);
    for (const spec of this.data.charts) {
      if (!this.charts.has(spec.id)) this.charts.set(spec.id, new Chart(this.root, spec.id));
      this.charts.get(spec.id).draw(spec, [...this.runs.values()]);
    }
  }
}

function findApp() {
  return document.querySelector('[data-testid="stApp"]');
}

function isRunning() {
  return findApp().getAttribute(SCRIPT_STATE) === "running";
}

// Return a run with its new points. Without a known beginning they are dropped: the empty cursor asks for all.
function merge(known, news) {
  if (known && known.cursor === news.cursor && news.since) return known;
  if (news.since && known?.cursor !== news.since) return { ...news, cursor: "", lines: [] };
  const lines = new Map(news.since ? known.lines.map((line) => [line.id, line]) : []);
  for (const line of news.lines) {
    lines.set(line.id, { ...line, ...extend(lines.get(line.id) ?? { kept: [], stride: 1, count: 0 }, line.points) });
  }
  const older = news.since ? known : {};
  return { ...news, lines: [...lines.values()], totals: { ...older.totals, ...news.totals }, picture: news.picture ?? older.picture };
}

// Return the points of a line with its new ones: each `stride`-th of all that ever came, and the newest.
function extend({ kept, stride, count }, news) {
  kept = [...kept, ...news.filter((_, i) => (count + i) % stride === 0)];
  count += news.length;
  for (; kept.length > MAX_POINTS; stride *= 2) kept = kept.filter((_, i) => i % 2 === 0);
  const points = (count - 1) % stride ? [...kept, news.at(-1)] : kept;
  return { kept, stride, count, points };
}

class Chart {
  constructor(root, id) {
    this.box = add(root, "div", { class: "chart", "data-chart": id });
    this.title = add(this.box, "div", { class: "title" });
    this.legend = add(this.box, "div", { class: "legend" });
    const row = add(this.box, "div", { class: "row" });
    this.plot = add(row, "div", { class: "plot" });
    this.svg = add(this.plot, "svg", { height: HEIGHT, role: "img" });
    this.tip = add(this.plot, "div", { class: "tip" });
    this.figure = add(row, "figure");
    add(this.figure, "img", { alt: "Patch" });
    add(this.figure, "figcaption");
    this.svg.addEventListener("pointermove", (event) => this.hover(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.pointer = null;
  }

  draw(spec, runs) {
    this.spec = spec; // its title depends on the number of runs
    this.title.textContent = spec.title;
    const { id, is_share } = spec;
    this.lines = runs.flatMap((run) => run.lines).filter((line) => line.chart === id && line.points.length);
    this.box.hidden = !this.lines.length;
    if (!this.lines.length) return;
    this.width = this.plot.clientWidth;
    this.steps = Math.max(...runs.map((run) => run.totals[id] ?? 0), 1);
    const values = this.lines.flatMap((line) => line.points.map((point) => point[1]));
    const ticks = is_share ? [0, 0.25, 0.5, 0.75, 1] : niceTicks(Math.min(...values), Math.max(...values), 5);
    const margin = 0.03 * (ticks.at(-1) - ticks[0]);
    [this.low, this.high] = [ticks[0] - margin, ticks.at(-1) + margin];
    this.svg.replaceChildren();
    this.svg.setAttribute("width", this.width);
    const last = this.lines.map((line) => `${line.name} ${this.format(line.points.at(-1)[1])}`);
    this.svg.setAttribute("aria-label", `${spec.title}, step ${this.lines[0].points.at(-1)[0]}: ${last.join(", ")}`);
    this.drawAxes(ticks);
    this.lines.forEach((line) => this.drawLine(line));
    this.drawLegend();
    this.drawPicture(runs);
    if (this.pointer !== null) this.hover(this.pointer);
  }

  x(step) {
    return LEFT + (step / this.steps) * (this.width - LEFT - RIGHT);
  }

  y(value) {
    return TOP + ((this.high - value) / (this.high - this.low)) * (HEIGHT - TOP - BOTTOM);
  }

  format(value) {
    if (this.spec.is_share) return `${(100 * value).toFixed(1)}%`;
    return String(Number(value.toPrecision(3)));
  }

  drawAxes(ticks) {
    const bottom = HEIGHT - BOTTOM, right = this.width - RIGHT;
    for (const tick of ticks) {
      const y = this.y(tick);
      add(this.svg, "line", { class: "grid", x1: LEFT, x2: right, y1: y, y2: y });
      const label = add(this.svg, "text", { x: LEFT - 7, y: y + 4, "text-anchor": "end" });
      label.textContent = this.spec.is_share ? `${100 * tick}%` : String(Number(tick.toPrecision(6)));
    }
    for (const tick of niceTicks(0, this.steps, 6).filter((step) => step <= this.steps && Number.isInteger(step))) {
      const label = add(this.svg, "text", { x: this.x(tick), y: bottom + 17, "text-anchor": "middle" });
      label.textContent = tick.toLocaleString("en");
    }
    const middle = (TOP + bottom) / 2;
    const titles = [
      [this.spec.x_title, { x: (LEFT + right) / 2, y: HEIGHT - 5 }],
      [this.spec.y_title, { transform: `translate(13 ${middle}) rotate(-90)` }],
    ];
    for (const [text, place] of titles) {
      add(this.svg, "text", { ...place, "text-anchor": "middle" }).textContent = text;
    }
  }

  drawLine(line) {
    const points = line.points.map(([step, value]) => [this.x(step), this.y(value)]);
    const d = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const path = add(this.svg, "path", { ...stroke(line), class: "line", d, "data-line": line.id });
    path.points = line.points; // for tests
    const marker = line.marker ?? (points.length === 1 && "circle"); // a path of one point draws nothing
    if (marker) points.forEach((place) => drawMarker(this.svg, marker, line.color, place));
  }

  drawLegend() {
    this.legend.replaceChildren();
    if (this.lines.length < 2) return;
    for (const line of this.lines) {
      const entry = add(this.legend, "span");
      const sample = add(entry, "svg", { width: 34, height: 12 });
      add(sample, "path", { ...stroke(line), d: "M1 6L33 6" });
      if (line.marker) drawMarker(sample, line.marker, line.color, [17, 6]);
      add(entry, "span").textContent = line.name;
    }
  }

  drawPicture(runs) {
    const picture = this.spec.has_picture && runs.map((run) => run.picture).find(Boolean);
    this.figure.hidden = !picture;
    if (!picture) return;
    this.figure.querySelector("img").src = `data:image/png;base64,${picture.png}`;
    this.figure.querySelector("figcaption").textContent = picture.caption;
  }

  // Show the values at a place of the pointer, in pixels; `draw` calls this again, as the values below it may be new.
  hover(x) {
    const step = ((x - LEFT) / (this.width - LEFT - RIGHT)) * this.steps;
    const near = this.lines.map((line) => [line, nearest(line.points, step)]);
    const [at] = near.map(([, point]) => point).sort((a, b) => Math.abs(a[0] - step) - Math.abs(b[0] - step));
    this.leave();
    this.pointer = x;
    this.guide = add(this.svg, "line", { class: "guide", x1: this.x(at[0]), x2: this.x(at[0]), y1: TOP, y2: HEIGHT - BOTTOM });
    const rows = near.map(([line, point]) => `${line.name}: ${this.format(point[1])}${point[0] === at[0] ? "" : ` (step ${point[0]})`}`);
    this.tip.textContent = [`Step ${at[0].toLocaleString("en")}`, ...rows].join("\n");
    this.tip.style.display = "block";
    const isRight = this.x(at[0]) > this.width / 2;
    this.tip.style.left = isRight ? "" : `${this.x(at[0]) + 10}px`;
    this.tip.style.right = isRight ? `${this.width - this.x(at[0]) + 10}px` : "";
  }

  leave() {
    this.pointer = null;
    this.guide?.remove();
    this.tip.style.display = "none";
  }
}

function stroke(line) {
  return { fill: "none", stroke: line.color, "stroke-width": 2, "stroke-dasharray": DASHES[line.dash] ?? "none" };
}

// Draw a marker over its line; those of several runs with one method differ in how they are filled.
function drawMarker(parent, name, color, [x, y]) {
  const isOpen = name.includes("-open"), background = "var(--st-background-color)";
  const look = isOpen ? { fill: background, stroke: color, "stroke-width": 1.6 } : { fill: color };
  add(parent, "path", { d: shape(name, x, y), ...look });
  if (!name.endsWith("-dot")) return;
  add(parent, "circle", { cx: x, cy: y, r: 2, fill: isOpen ? color : background });
}

// Return round numbers from at most `low` to at least `high`, about `count` of them.
function niceTicks(low, high, count) {
  if (!(high > low)) [low, high] = [(low || 0) - 0.5, (low || 0) + 0.5];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.floor(low / step), last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

// Return the point whose step is nearest; points are ordered by step.
function nearest(points, step) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - step) < Math.abs(points[high][0] - step) ? points[low] : points[high];
}
