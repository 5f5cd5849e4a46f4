// The image tower of a CLIP in plain JavaScript: decode weights, mix two models, encode an image, rank the classes.
// Pure functions over typed arrays, without a document: the worker and node run the same code.

/**
 * One tensor: name and shape.
 * @typedef {[name: string, shape: number[]]} Entry
 *
 * An image tower; `layers` are the blocks of each stage (resnet), or of the transformer (vit, one number).
 * @typedef {{kind: "resnet" | "vit", side: number, heads: number, layers: number[], patch: number, quick: boolean,
 *   mean: number[], std: number[], classes: number, layout: Entry[]}} Spec
 *
 * @typedef {Record<string, Float32Array>} Weights
 *
 * `encode`: pixels (side, side, 3) to a unit feature; `rank`: a feature to the probability of each class.
 * @typedef {{encode: (pixels: Uint8Array) => Float32Array, rank: (feature: Float32Array) => Float32Array}} Model
 */
/** @param {number[]} shape */
const count = (shape) => shape.reduce((product, side) => product * side, 1);

/** @param {number} bits of an fp16 number */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

/**
 * Return all weights of a model in the order of the layout, as one array that can be mixed with another model's.
 * `bytes`: vectors, and of a delta the step of each row, in fp32; then for each weight of a matrix 16 bits, first all
 * low bytes, then all high ones. They are an fp16 number, or the code of a delta: weight = base + step * code.
 * @param {Entry[]} layout @param {Uint8Array} bytes @param {Float32Array | null} base
 */
function decodeWeights(layout, bytes, base) {
  const tensors = layout.map(([, shape]) => ({ size: count(shape), rows: shape[0], isVector: shape.length < 2 }));
  const sum = (/** @type {number[]} */ sizes) => sizes.reduce((total, size) => total + size, 0);
  const floats = sum(tensors.map(({ size, rows, isVector }) => (isVector ? size : base ? rows : 0)));
  const matrices = sum(tensors.map(({ size, isVector }) => (isVector ? 0 : size)));
  const flat = new Float32Array(sum(tensors.map(({ size }) => size)));
  const head = new Float32Array(bytes.slice(0, 4 * floats).buffer);
  let [at, read, low] = [0, 0, 4 * floats];
  for (const { size, rows, isVector } of tensors) {
    if (isVector) flat.set(head.subarray(read, (read += size)), at);
    else {
      for (let i = 0; i < size; i++, low++) {
        const bits = bytes[low] | (bytes[low + matrices] << 8);
        const code = (bits >> 1) ^ -(bits & 1); // 0, -1, 1, -2 ...
        flat[at + i] = base ? base[at + i] + head[read + Math.floor((i * rows) / size)] * code : fromHalf(bits);
      }
      if (base) read += rows;
    }
    at += size;
  }
  return flat;
}

// Return (1 - share) a + share b.
/** @param {Float32Array} a @param {Float32Array} b @param {number} share */
function mixWeights(a, b, share) {
  return a.map((value, i) => value + share * (b[i] - value));
}

// Scale a vector to length 1, in place.
/** @param {Float32Array} vector */
function toUnit(vector) {
  let sum = 0;
  for (const value of vector) sum += value * value;
  const scale = 1 / Math.max(Math.sqrt(sum), 1e-12);
  for (let i = 0; i < vector.length; i++) vector[i] *= scale;
  return vector;
}

// Return a model that is ready to run.
/** @param {Spec} spec @param {Float32Array} flat @returns {Model} */
function buildModel(spec, flat) {
  let at = 0;
  /** @type {Weights} */
  const weights = {};
  for (const [name, shape] of spec.layout) weights[name] = flat.subarray(at, (at += count(shape)));
  const tower = spec.kind === "resnet" ? buildResnet(spec, weights) : buildVit(spec, weights);
  const [classes, width] = [weights.classes.slice(), weights.classes.length / spec.classes];
  for (let i = 0; i < classes.length; i += width) toUnit(classes.subarray(i, i + width)); // mixing shortens them
  const scale = Math.exp(weights.log_scale[0]);
  const table = spec.mean.map((mean, c) => Float32Array.from({ length: 256 }, (_, byte) => (byte / 255 - mean) / spec.std[c]));
  return {
    encode: (pixels) => {
      const x = new Float32Array(pixels.length);
      for (let i = 0; i < x.length; i++) x[i] = table[i % 3][pixels[i]];
      return toUnit(tower(x));
    },
    rank: (feature) => {
      const logits = linear(feature, 1, classes).map((cosine) => scale * cosine);
      softmax(logits);
      return logits;
    },
  };
}

/** @param {Float32Array} x changed in place */
function softmax(x) {
  let [max, sum] = [-Infinity, 0];
  for (let i = 0; i < x.length; i++) if (x[i] > max) max = x[i];
  for (let i = 0; i < x.length; i++) sum += x[i] = Math.exp(x[i] - max);
  for (let i = 0; i < x.length; i++) x[i] /= sum;
}

/**
 * Return x (rows, I) times the transpose of w (O, I), plus b (O): (rows, O). Most of the time is spent here.
 * Eight sums at once read each number for several products; at an odd end the last ones are computed twice. They are
 * doubles: V8 converts a sum that is kept in fp32 back and forth, which takes twice as long.
 * @param {Float32Array} x @param {number} rows @param {Float32Array} w @param {Float32Array} [b]
 */
function linear(x, rows, w, b) {
  const inputs = (x.length / rows) | 0, outputs = (w.length / inputs) | 0, last = outputs - 1;
  const y = new Float32Array(rows * outputs);
  for (let o = 0; o < outputs; o += 4) {
    const o1 = Math.min(o + 1, last), o2 = Math.min(o + 2, last), o3 = Math.min(o + 3, last);
    const w0 = o * inputs, w1 = o1 * inputs, w2 = o2 * inputs, w3 = o3 * inputs;
    const b0 = b ? b[o] : 0, b1 = b ? b[o1] : 0, b2 = b ? b[o2] : 0, b3 = b ? b[o3] : 0; // no array: it is slow here
    for (let row = 0; row < rows; row += 2) {
      const next = Math.min(row + 1, rows - 1), x0 = row * inputs, x1 = next * inputs;
      let s0 = b0, s1 = b1, s2 = b2, s3 = b3, t0 = b0, t1 = b1, t2 = b2, t3 = b3;
      for (let i = 0; i < inputs; i++) {
        const u = x[x0 + i], v = x[x1 + i];
        const c0 = w[w0 + i], c1 = w[w1 + i], c2 = w[w2 + i], c3 = w[w3 + i];
        (s0 += u * c0), (s1 += u * c1), (s2 += u * c2), (s3 += u * c3);
        (t0 += v * c0), (t1 += v * c1), (t2 += v * c2), (t3 += v * c3);
      }
      const y0 = row * outputs, y1 = next * outputs;
      (y[y0 + o] = s0), (y[y0 + o1] = s1), (y[y0 + o2] = s2), (y[y0 + o3] = s3);
      (y[y1 + o] = t0), (y[y1 + o1] = t1), (y[y1 + o2] = t2), (y[y1 + o3] = t3);
    }
  }
  return y;
}

/**
 * Attention of the tokens that ask to all tokens, heads side by side: (queries, width).
 * @param {Float32Array} q (queries, width) @param {Float32Array} k @param {Float32Array} v (tokens, width)
 * @param {number} width @param {number} heads
 */
function attend(q, k, v, width, heads) {
  const [size, queries, tokens, y] = [width / heads, q.length / width, k.length / width, new Float32Array(q.length)];
  const scale = 1 / Math.sqrt(size);
  for (let head = 0; head < width; head += size) {
    // Cut the columns of this head, as rows or as columns.
    /** @type {(x: Float32Array, rows: number, isTurned?: boolean) => Float32Array} */
    const cut = (x, rows, isTurned) => {
      const part = new Float32Array(rows * size);
      for (let r = 0; r < rows; r++) for (let i = 0; i < size; i++) part[isTurned ? i * rows + r : r * size + i] = x[r * width + head + i];
      return part;
    };
    const scores = linear(cut(q, queries), queries, cut(k, tokens));
    for (let i = 0; i < scores.length; i++) scores[i] *= scale;
    for (let r = 0; r < queries; r++) softmax(scores.subarray(r * tokens, (r + 1) * tokens));
    const mixed = linear(scores, queries, cut(v, tokens, true));
    for (let r = 0; r < queries; r++) y.set(mixed.subarray(r * size, (r + 1) * size), r * width + head);
  }
  return y;
}

// Return x + y, or its positive part.
/** @param {Float32Array} x @param {Float32Array} y @param {boolean} [relu] */
function sumOf(x, y, relu) {
  const sum = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) sum[i] = relu && x[i] + y[i] < 0 ? 0 : x[i] + y[i];
  return sum;
}

// ---- ModifiedResNet: a stem of three convolutions, bottlenecks, attention pooling. Images are (pixels, channels).

/** @typedef {{w: Float32Array, b: Float32Array}} Conv */

/**
 * Fold a BatchNorm into the convolution before it; the weights (O, I, taps) become (O, taps, I).
 * @param {Weights} weights @param {string} conv @param {string} norm @param {number} taps 9, or 1 @returns {Conv}
 */
function foldNorm(weights, conv, norm, taps) {
  const [source, b] = [weights[`${conv}.weight`], weights[`${norm}.bias`].slice()];
  const [scale, mean, variance] = ["weight", "running_mean", "running_var"].map((name) => weights[`${norm}.${name}`]);
  const [w, size] = [new Float32Array(source.length), source.length / b.length];
  const inputs = size / taps;
  for (let o = 0; o < b.length; o++) {
    const factor = scale[o] / Math.sqrt(Math.max(variance[o], 0) + 1e-5); // a mix beyond its ends may be negative
    b[o] -= mean[o] * factor;
    for (let i = 0; i < size; i++) w[o * size + (i % taps) * inputs + Math.floor(i / taps)] = source[o * size + i] * factor;
  }
  return { w, b };
}

/**
 * 3x3 convolution and ReLU of x (side * side, C), with a border of zeros.
 * @param {Float32Array} x @param {number} side @param {Conv} conv @param {number} stride
 */
function conv3(x, side, conv, stride) {
  const [channels, out] = [x.length / (side * side), side / stride];
  const columns = new Float32Array(out * out * 9 * channels);
  let to = 0;
  for (let i = 0; i < out; i++) {
    for (let j = 0; j < out; j++) {
      for (let tap = 0; tap < 9; tap++, to += channels) {
        const [row, column] = [i * stride + Math.floor(tap / 3) - 1, j * stride + (tap % 3) - 1];
        if (row < 0 || row >= side || column < 0 || column >= side) continue;
        const from = (row * side + column) * channels;
        for (let c = 0; c < channels; c++) columns[to + c] = x[from + c];
      }
    }
  }
  return conv1(columns, out, conv);
}

// 1x1 convolution and ReLU.
/** @param {Float32Array} x @param {number} side @param {Conv} conv */
function conv1(x, side, { w, b }) {
  const y = linear(x, side * side, w, b);
  for (let i = 0; i < y.length; i++) if (y[i] < 0) y[i] = 0;
  return y;
}

// Mean of each 2x2 square of x (side * side, C).
/** @param {Float32Array} x @param {number} side */
function halve(x, side) {
  const [channels, half, y] = [x.length / (side * side), side / 2, new Float32Array(x.length / 4)];
  for (let i = 0; i < half * half; i++) {
    const from = (2 * Math.floor(i / half) * side + 2 * (i % half)) * channels;
    const [right, below] = [channels, side * channels];
    for (let c = from; c < from + channels; c++) {
      y[i * channels + c - from] = (x[c] + x[c + right] + x[c + below] + x[c + right + below]) / 4;
    }
  }
  return y;
}

/** @param {Spec} spec @param {Weights} weights */
function buildResnet(spec, weights) {
  const stem = [1, 2, 3].map((i) => foldNorm(weights, `conv${i}`, `bn${i}`, 9));
  const blocks = spec.layers.flatMap((depth, stage) =>
    Array.from({ length: depth }, (_, i) => {
      const name = `layer${stage + 1}.${i}`;
      const convs = [1, 2, 3].map((j) => foldNorm(weights, `${name}.conv${j}`, `${name}.bn${j}`, j === 2 ? 9 : 1));
      const hasShortcut = `${name}.downsample.0.weight` in weights;
      const shortcut = hasShortcut ? foldNorm(weights, `${name}.downsample.0`, `${name}.downsample.1`, 1) : null;
      return { convs, shortcut, halves: stage > 0 && i === 0 };
    }),
  );
  return (/** @type {Float32Array} */ image) => {
    let [x, side] = [conv3(image, spec.side, stem[0], 2), spec.side / 2];
    x = halve(conv3(conv3(x, side, stem[1], 1), side, stem[2], 1), side);
    side /= 2;
    for (const { convs, shortcut, halves } of blocks) {
      let y = conv3(conv1(x, side, convs[0]), side, convs[1], 1);
      if (halves) [x, y, side] = [halve(x, side), halve(y, side), side / 2];
      if (shortcut) x = linear(x, side * side, shortcut.w, shortcut.b);
      x = sumOf(linear(y, side * side, convs[2].w, convs[2].b), x, true);
    }
    return poolByAttention(x, side * side, spec.heads, weights);
  };
}

/**
 * The mean of all pixels asks; it and the pixels answer.
 * @param {Float32Array} x (pixels, width) @param {number} pixels @param {number} heads @param {Weights} weights
 */
function poolByAttention(x, pixels, heads, weights) {
  const [width, tokens] = [x.length / pixels, weights["attnpool.positional_embedding"].slice()];
  for (let i = 0; i < x.length; i++) {
    tokens[i % width] += x[i] / pixels;
    tokens[width + i] += x[i];
  }
  const project = (/** @type {string} */ name, /** @type {Float32Array} */ input, /** @type {number} */ rows) =>
    linear(input, rows, weights[`attnpool.${name}_proj.weight`], weights[`attnpool.${name}_proj.bias`]);
  const query = project("q", tokens.subarray(0, width), 1);
  return project("c", attend(query, project("k", tokens, pixels + 1), project("v", tokens, pixels + 1), width, heads), 1);
}

// ---- Vision transformer: patches, a class token, blocks that normalize first, projection of the class token.

// LayerNorm of each row of x.
/** @param {Float32Array} x @param {Weights} weights @param {string} name */
function normalize(x, weights, name) {
  const [scale, shift, y] = [weights[`${name}.weight`], weights[`${name}.bias`], new Float32Array(x.length)];
  const width = scale.length;
  for (let at = 0; at < x.length; at += width) {
    let [mean, variance] = [0, 0];
    for (let i = 0; i < width; i++) mean += x[at + i] / width;
    for (let i = 0; i < width; i++) variance += (x[at + i] - mean) ** 2 / width;
    const factor = 1 / Math.sqrt(variance + 1e-5);
    for (let i = 0; i < width; i++) y[at + i] = (x[at + i] - mean) * factor * scale[i] + shift[i];
  }
  return y;
}

/** @param {number} x */
function gelu(x) {
  const z = Math.abs(x) * Math.SQRT1_2;
  const t = 1 / (1 + 0.3275911 * z); // erf to within 1.5e-7 (Abramowitz and Stegun 7.1.26)
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const half = 0.5 * tail * Math.exp(-z * z);
  return x * (x > 0 ? 1 - half : half);
}

// Return the patches of an image as rows: all of red, then of green, then of blue.
/** @param {Float32Array} image @param {number} side @param {number} patch */
function cutPatches(image, side, patch) {
  const [rows, perSide, area] = [new Float32Array(image.length), side / patch, patch * patch];
  for (let i = 0; i < side * side; i++) {
    const [y, x] = [Math.floor(i / side), i % side];
    const cell = Math.floor(y / patch) * perSide + Math.floor(x / patch);
    const to = cell * 3 * area + (y % patch) * patch + (x % patch);
    for (let c = 0; c < 3; c++) rows[to + c * area] = image[3 * i + c];
  }
  return rows;
}

/** @param {Spec} spec @param {Weights} weights */
function buildVit(spec, weights) {
  const [width, depth, patches] = [weights.class_embedding.length, spec.layers[0], (spec.side / spec.patch) ** 2];
  const [output, tokens] = [weights.proj.length / width, patches + 1];
  const projection = weights.proj.map((_, i) => weights.proj[(i % width) * output + Math.floor(i / width)]);
  const activate = spec.quick ? (/** @type {number} */ x) => x / (1 + Math.exp(-1.702 * x)) : gelu;
  const layer = (/** @type {Float32Array} */ x, /** @type {number} */ rows, /** @type {string} */ name) =>
    linear(x, rows, weights[`${name}.weight`], weights[`${name}.bias`]);
  return (/** @type {Float32Array} */ image) => {
    let x = weights.positional_embedding.slice();
    x.set(sumOf(x.subarray(0, width), weights.class_embedding));
    x.set(sumOf(x.subarray(width), linear(cutPatches(image, spec.side, spec.patch), patches, weights["conv1.weight"])), width);
    x = normalize(x, weights, "ln_pre");
    for (let i = 0; i < depth; i++) {
      const name = `transformer.resblocks.${i}`;
      const rows = i === depth - 1 ? 1 : tokens; // of the last block only the class token is read
      const [w, b] = [weights[`${name}.attn.in_proj_weight`], weights[`${name}.attn.in_proj_bias`]];
      const before = normalize(x, weights, `${name}.ln_1`);
      const [q, k, v] = [rows, tokens, tokens].map((count, part) => {
        const [from, to] = [part * width, (part + 1) * width];
        return linear(before.subarray(0, count * width), count, w.subarray(from * width, to * width), b.subarray(from, to));
      });
      x = sumOf(x.subarray(0, rows * width), layer(attend(q, k, v, width, spec.heads), rows, `${name}.attn.out_proj`));
      const inner = layer(normalize(x, weights, `${name}.ln_2`), rows, `${name}.mlp.c_fc`);
      x = sumOf(x, layer(inner.map(activate), rows, `${name}.mlp.c_proj`));
    }
    return linear(normalize(x.subarray(0, width), weights, "ln_post"), 1, projection);
  };
}
