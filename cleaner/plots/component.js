// Shared by all drawings that run in the browser; `read_script` puts it before each of them.
const SVG_TAGS = ["svg", "path", "line", "text", "circle"];
/** @type {WeakMap<Element, any>} */
const views = new WeakMap();

// Return a component that draws with a class: new View(parentElement), receive({ data, setTriggerValue }), stop().
// `receive` is also called again with the same data, for instance after a change of theme.
/** @param {any} View */
function mount(View) {
  return (/** @type {any} */ component) => {
    const { parentElement } = component;
    let view = views.get(parentElement);
    if (!view) views.set(parentElement, (view = new View(parentElement)));
    view.receive(component);
    return () => {
      view.stop();
      views.delete(parentElement);
    };
  };
}

// Append a new element. Text from a run is only ever set as text, never as HTML.
/** @param {Element} parent @param {string} tag @param {Record<string, any>} [attributes] @param {string} [text] @returns {any} */
function add(parent, tag, attributes = {}, text = "") {
  const namespace = SVG_TAGS.includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return parent.appendChild(element);
}

// Size a canvas to its box in device pixels; return its width and height in CSS pixels.
/** @param {HTMLCanvasElement} canvas */
function fit(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  canvas.getContext("2d")?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [width, height];
}

// Return the place of a pointer in an element, 0..1.
/** @param {MouseEvent} event @param {Element} element */
function locate(event, element) {
  const box = element.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

// Corners of the markers around 0; names as in Plotly, without the ending for the fill.
/** @type {Record<string, number[][]>} */
const CORNERS = {
  diamond: [[0, -5.5], [5.5, 0], [0, 5.5], [-5.5, 0]],
  "diamond-wide": [[0, -4], [6.5, 0], [0, 4], [-6.5, 0]],
  square: [[-4, -4], [4, -4], [4, 4], [-4, 4]],
  "triangle-up": [[0, -5], [5, 4], [-5, 4]],
  "triangle-down": [[0, 5], [5, -4], [-5, -4]],
  "triangle-left": [[-5, 0], [4, 5], [4, -5]],
  "triangle-right": [[5, 0], [-4, 5], [-4, -5]],
  hourglass: [[-4, -5], [4, -5], [-4, 5], [4, 5]],
  bowtie: [[-5, -4], [5, 4], [5, -4], [-5, 4]],
  cross: [[-2, -5], [2, -5], [2, -2], [5, -2], [5, 2], [2, 2], [2, 5], [-2, 5], [-2, 2], [-5, 2], [-5, -2], [-2, -2]],
  hexagon: Array.from({ length: 6 }, (_, i) => polar(5, i / 6)),
  pentagon: Array.from({ length: 5 }, (_, i) => polar(5, i / 5)),
  x: [[-5, -3], [-3, -5], [0, -2], [3, -5], [5, -3], [2, 0], [5, 3], [3, 5], [0, 2], [-3, 5], [-5, 3], [-2, 0]],
  star: Array.from({ length: 10 }, (_, i) => polar(i % 2 ? 2.6 : 6.4, i / 10)),
  "star-square": Array.from({ length: 8 }, (_, i) => polar(i % 2 ? 6.4 : 2.6, i / 8)),
};

/** @param {number} radius @param {number} turn */
function polar(radius, turn) {
  return [radius * Math.sin(2 * Math.PI * turn), -radius * Math.cos(2 * Math.PI * turn)];
}

// Return a marker of about 10 px as a path; other names are circles.
/** @param {string} name @param {number} x @param {number} y */
function shape(name, x, y) {
  const corners = CORNERS[name.replace(/(-open|-dot)+$/, "")];
  if (corners) return `M${corners.map(([dx, dy]) => `${(x + dx).toFixed(1)} ${(y + dy).toFixed(1)}`).join("L")}Z`;
  return `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z`;
}

