// Small helpers for the page, beyond those of component.js.

/** @param {number} share */
const percent = (share) => `${Math.round(100 * share)}%`;

// Draw pixels (side, side, 3) on a canvas of that size.
/** @param {HTMLCanvasElement} canvas @param {Uint8Array} pixels @param {number} side */
function paint(canvas, pixels, side) {
  [canvas.width, canvas.height] = [side, side];
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    image.data.set([pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2], 255], 4 * i);
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

// Move a choice among buttons by the arrow keys.
/** @param {HTMLElement} group @param {(element: HTMLElement) => void} choose */
function enableArrows(group, choose) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const all = /** @type {HTMLElement[]} */ ([...group.querySelectorAll("button")]);
    const next = all[(all.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + step + all.length) % all.length];
    next.focus();
    choose(next);
  });
}
