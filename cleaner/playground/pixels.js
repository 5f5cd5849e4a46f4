// Images as bytes (side, side, 3): unpack them, put a trigger on them, cover a part. Runs in the page and the worker.

// Pixels become gain * pixel + shift inside the box.
/** @typedef {{width: number, height: number, gain: Float32Array, shift: Float32Array}} Patch */

/** @param {string} text in base64 */
function fromBase64(text) {
  const binary = atob(text);
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

// Decode deflated base64.
/** @param {string} text */
async function inflate(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new (/** @type {any} */ (globalThis).DecompressionStream)("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Return the images that `pack_pixels` wrote.
/** @param {string} packed @param {number} side */
async function unpackImages(packed, side) {
  const bytes = await inflate(packed);
  for (let i = 0; i < bytes.length; i++) if (i % (3 * side) >= 3) bytes[i] += bytes[i - 3];
  return Array.from({ length: bytes.length / (3 * side * side) }, (_, i) => bytes.slice(3 * side * side * i, 3 * side * side * (i + 1)));
}

/** @param {number} value 0..255, half rounds to even, as in torch */
function toByte(value) {
  const whole = Math.floor(value);
  const up = value - whole > 0.5 || (value - whole === 0.5 && whole % 2 === 1) ? 1 : 0;
  return Math.min(255, Math.max(0, whole + up));
}

// Return a copy with the patch at a place; what lies outside is cut.
/** @param {Uint8Array} image @param {number} side @param {Patch} patch @param {number} left @param {number} top */
function applyPatch(image, side, patch, left, top) {
  const pixels = image.slice();
  for (let i = 0; i < patch.width * patch.height; i++) {
    const [x, y] = [left + (i % patch.width), top + Math.floor(i / patch.width)];
    if (x < 0 || y < 0 || x >= side || y >= side) continue;
    for (let c = 0; c < 3; c++) {
      const at = 3 * (y * side + x) + c;
      const value = Math.fround(Math.fround(Math.fround(image[at] / 255) * patch.gain[3 * i + c]) + patch.shift[3 * i + c]);
      pixels[at] = toByte(Math.fround(Math.min(1, Math.max(0, value)) * 255));
    }
  }
  return pixels;
}

// Return the patch at another size, nearest pixels.
/** @param {Patch} patch @param {number} width */
function scalePatch(patch, width) {
  const height = Math.max(1, Math.round((patch.height * width) / patch.width));
  if (width === patch.width) return patch;
  const [gain, shift] = [new Float32Array(3 * width * height), new Float32Array(3 * width * height)];
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [Math.floor(((i % width) * patch.width) / width), Math.floor((Math.floor(i / width) * patch.height) / height)];
    const from = 3 * (y * patch.width + x);
    gain.set(patch.gain.subarray(from, from + 3), 3 * i);
    shift.set(patch.shift.subarray(from, from + 3), 3 * i);
  }
  return { width, height, gain, shift };
}

// Return the patch at a strength: 0 changes nothing, 1 is the patch.
/** @param {Patch} patch @param {number} strength */
function fadePatch(patch, strength) {
  if (strength === 1) return patch;
  return { ...patch, gain: patch.gain.map((gain) => 1 + strength * (gain - 1)), shift: patch.shift.map((shift) => strength * shift) };
}

/** @param {Uint8Array} clean @param {Uint8Array} triggered @param {number} strength */
const fadePixels = (clean, triggered, strength) => clean.map((byte, i) => Math.round(byte + strength * (triggered[i] - byte)));

// Return a copy with a gray square.
/** @param {Uint8Array} image @param {number} side @param {number} size @param {number} left @param {number} top */
function cover(image, side, size, left, top) {
  const patch = { width: size, height: size, gain: new Float32Array(3 * size * size), shift: new Float32Array(3 * size * size).fill(0.5) };
  return applyPatch(image, side, patch, left, top);
}

// Cells that a cell of a map stands for until they are computed, in each direction.
/** @param {number} x @param {number} y */
function findSpan(x, y) {
  return [4, 2].find((step) => x % step === 0 && y % step === 0) ?? 1;
}

// Corners of a square of `size` px on a grid, the coarse ones first, so that a map is soon seen as a whole.
/** @param {number} side @param {number} size @param {number} step */
function listPlaces(side, size, step) {
  const perSide = Math.floor((side - size) / step) + 1;
  const cells = Array.from({ length: perSide * perSide }, (_, i) => [i % perSide, Math.floor(i / perSide)]);
  cells.sort((a, b) => findSpan(b[0], b[1]) - findSpan(a[0], a[1]));
  return { perSide, cells, places: cells.map(([x, y]) => [x * step, y * step]) };
}
