// Small helpers for the page. Text from a run is only ever set as text, never as HTML.

/**
 * Append a new element. @param {Element} parent @param {string} tag @param {Record<string, string | number>} [attributes]
 * @param {string} [text] @returns {any}
 */
function make(parent, tag, attributes = {}, text = "") {
  const isDrawing = ["svg", "path", "line", "text", "circle", "rect"].includes(tag);
  const element = document.createElementNS(isDrawing ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text) element.textContent = text;
  return parent.appendChild(element);
}

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);

/** @param {number} share */
const percent = (share) => `${Math.round(100 * share)}%`;

/** Draw pixels (side, side, 3) on a canvas of that size. @param {HTMLCanvasElement} canvas @param {Uint8Array} pixels @param {number} side */
function paint(canvas, pixels, side) {
  [canvas.width, canvas.height] = [side, side];
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    image.data.set([pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2], 255], 4 * i);
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** Move a choice among buttons by the arrow keys. @param {HTMLElement} group @param {(element: HTMLElement) => void} choose */
function enableArrows(group, choose) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = /** @type {HTMLElement[]} */ ([...group.querySelectorAll("button")]);
    const next = all[(all.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + step + all.length) % all.length];
    next.focus();
    choose(next);
  });
}

/** Return the place of a pointer in an element, 0..1. @param {PointerEvent} event @param {Element} element */
function locate(event, element) {
  const box = element.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}
