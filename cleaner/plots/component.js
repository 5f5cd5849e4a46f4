// Shared by all drawings that run in the browser; `read_script` puts it before each of them.
const SVG = "http://www.w3.org/2000/svg";
const views = new WeakMap();

// Return a component that draws with a class: new View(parentElement), receive({ data, setTriggerValue }), stop().
// `receive` is also called again with the same data, for instance after a change of theme.
function mount(View) {
  return (component) => {
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

function add(parent, tag, attributes = {}, namespace = "http://www.w3.org/1999/xhtml") {
  const element = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
}

// Size a canvas to its box in device pixels; return its width and height in CSS pixels.
function fit(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  return [width, height];
}

// Return the place of a pointer in pixels of an element: those of the event are larger where the stage mode zooms.
function locate(event, element) {
  const box = element.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  return [x * element.clientWidth, y * element.clientHeight];
}

// Corners of the markers around 0; names as in Plotly, without the ending for the fill.
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

function polar(radius, turn) {
  return [radius * Math.sin(2 * Math.PI * turn), -radius * Math.cos(2 * Math.PI * turn)];
}

// Return a marker of about 10 px as a path; other names are circles.
function shape(name, x, y) {
  const corners = CORNERS[name.replace(/(-open|-dot)+$/, "")];
  if (corners) return `M${corners.map(([dx, dy]) => `${(x + dx).toFixed(1)} ${(y + dy).toFixed(1)}`).join("L")}Z`;
  return `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z`;
}

