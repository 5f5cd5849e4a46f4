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

function dot(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function diamond(context, [x, y], radius, isFilled) {
  context.lineWidth = 1.6;
  context.beginPath();
  context.moveTo(x, y - radius);
  context.lineTo(x + radius, y);
  context.lineTo(x, y + radius);
  context.lineTo(x - radius, y);
  context.closePath();
  isFilled ? context.fill() : context.stroke();
}

function cross(context, x, y, radius) {
  context.lineWidth = radius > 4 ? 2.5 : 1.5;
  context.beginPath();
  context.moveTo(x - radius, y - radius);
  context.lineTo(x + radius, y + radius);
  context.moveTo(x + radius, y - radius);
  context.lineTo(x - radius, y + radius);
  context.stroke();
}

