// The Web Worker: holds the models and answers questions. A new question replaces the open one of its kind; tasks run
// in small steps, the most urgent first, so that a drag never waits for a map.

/**
 * @typedef {{kind: string, id: number, [argument: string]: any}} Question
 * @typedef {{spec: Spec, weights: string[], scenes: Uint8Array[], triggered: Uint8Array[], labels: number[],
 *   target: number, roles: number[]}} Setup
 */
const URGENCY = ["look", "mix", "cover", "probe", "seal", "reveal", "occlusion", "position", "curve"];
const SPREAD = 0.12; // largest share of another model that the quiz mixes in
/** @type {Setup & {flat: Float32Array[], models: Model[]}} */
let lab;
/** @type {{models: Model[], names: number[], answer: number, salt: string} | null} */
let round = null;
/** @type {Map<string, Generator<void>>} */
const open = new Map();
const channel = new MessageChannel();

// Decode all models, the base first.
/** @param {Setup & Question} setup */
async function load(setup) {
  /** @type {Float32Array[]} */
  const flat = [];
  for (const text of setup.weights) flat.push(decodeWeights(setup.spec.layout, await inflate(text), flat[0] ?? null));
  lab = { ...setup, flat, models: flat.map((weights) => buildModel(setup.spec, weights)) };
  postMessage({ kind: "load", id: setup.id });
}

/** @param {Model} model @param {Uint8Array} pixels */
const look = (model, pixels) => model.rank(model.encode(pixels));

/** @param {Float32Array} ranks */
const best = (ranks) => ranks.indexOf(Math.max(...ranks));

// The weights at a position from 0 (first model of the path) to its length - 1.
/** @param {number[]} path @param {number} position */
function mixAlong(path, position) {
  const leg = Math.min(Math.floor(position), path.length - 2);
  return buildModel(lab.spec, mixWeights(lab.flat[path[leg]], lab.flat[path[leg + 1]], position - leg));
}

/** @type {Record<string, (question: Question, reply: (answer: object) => void) => Generator<void>>} */
const TASKS = {
  /** Probabilities of each image, one model after another. */
  *look({ models, images }, reply) {
    for (const model of models) {
      reply({ model, ranks: images.map((/** @type {Uint8Array} */ image) => look(lab.models[model], image)), isLast: model === models.at(-1) });
      yield;
    }
  },
  *mix({ path, position, images }, reply) {
    const model = mixAlong(path, position);
    reply({ ranks: images.map((/** @type {Uint8Array} */ image) => look(model, image)), isLast: true });
  },
  /** Accuracy and attack success over all scenes at positions along the path. */
  *curve({ path, positions }, reply) {
    for (const position of positions) {
      const model = mixAlong(path, position);
      let [right, attacked, hits] = [0, 0, 0];
      for (const [i, label] of lab.labels.entries()) {
        right += Number(best(look(model, lab.scenes[i])) === label);
        yield;
        if (label === lab.target) continue;
        attacked++;
        hits += Number(best(look(model, lab.triggered[i])) === lab.target);
        yield;
      }
      reply({ position, accuracy: right / lab.labels.length, success: hits / attacked });
    }
  },
  /** The probability of the target with the patch at each place, for each model. */
  *position({ models, image, patch, places }, reply) {
    for (const [cell, [left, top]] of places.entries()) {
      const pixels = applyPatch(image, lab.spec.side, patch, left, top);
      for (const model of models) {
        const ranks = look(lab.models[model], pixels);
        reply({ cell, model, value: ranks[lab.target], isHit: best(ranks) === lab.target });
        yield;
      }
    }
  },
  /** How much of the probability of a class is lost where a gray square covers the image. */
  *occlusion({ models, classes, image, size, places }, reply) {
    for (const [cell, [left, top]] of places.entries()) {
      const pixels = cover(image, lab.spec.side, size, left, top);
      for (const [i, model] of models.entries()) {
        reply({ cell, model, value: look(lab.models[model], pixels)[classes[i]] });
        yield;
      }
    }
  },
  /** Draw three models for the quiz; of the answer only a hash leaves the worker. */
  *seal(_question, reply) {
    round = drawRound(lab.roles, crypto.getRandomValues(new Uint32Array(5 * lab.roles.length + 20)));
    const text = `${round.salt} ${round.answer}`;
    if (!crypto.subtle) return reply({ seal: "" });
    crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)).then((hash) =>
      reply({ seal: Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("") }),
    );
  },
  *probe({ images }, reply) {
    for (const [place, model] of (round?.models ?? []).entries()) {
      reply({ place, ranks: images.map((/** @type {Uint8Array} */ image) => look(model, image)), isLast: place === 2 });
      yield;
    }
  },
  *reveal(_question, reply) {
    if (round) reply({ answer: round.answer, names: round.names, salt: round.salt });
  },
};
TASKS.cover = TASKS.look;

/**
 * The clean model, others that count as clean, and one backdoored model, or in a quarter of the rounds none; each is
 * moved a little to another model of its role.
 * @param {number[]} roles 1 backdoored, 0 clean, else not in the quiz @param {Uint32Array} noise
 */
function drawRound(roles, noise) {
  let at = 0;
  const random = () => noise[at++] / 2 ** 32;
  const shuffle = (/** @type {number[]} */ list) => list.map((item) => ({ item, key: random() })).sort((a, b) => a.key - b.key).map(({ item }) => item);
  const find = (/** @type {number} */ wanted) => roles.flatMap((role, i) => (role === wanted ? [i] : []));
  const [[clean, ...others], [guilty]] = [find(0), shuffle(find(1))];
  const answer = random() < 0.25 ? 3 : Math.floor(random() * 3); // 3: none
  const second = shuffle(others);
  const innocent = shuffle([clean, second[0] ?? clean, second[1] ?? clean].slice(0, answer < 3 ? 2 : 3));
  const names = [0, 1, 2].map((place) => (place === answer ? guilty : /** @type {number} */ (innocent.pop())));
  const models = names.map((name) => {
    const same = shuffle(find(roles[name]).filter((i) => i !== name));
    return buildModel(lab.spec, mixWeights(lab.flat[name], lab.flat[same[0] ?? clean], SPREAD * random()));
  });
  return { models, names, answer, salt: [...noise.slice(-3)].map((word) => word.toString(36)).join("") };
}

/** Run one step of the most urgent task, then let messages in. */
channel.port1.onmessage = () => {
  const kind = URGENCY.find((name) => open.has(name));
  if (!kind) return;
  if (open.get(kind)?.next().done) open.delete(kind);
  if (open.size) channel.port2.postMessage(null);
};

/** @param {MessageEvent<Question>} event */
self.onmessage = ({ data }) => {
  if (data.kind === "load") return void load(/** @type {any} */ (data));
  const isIdle = !open.size;
  const { kind, id } = data;
  if (data.stop) open.delete(kind);
  else open.set(kind, TASKS[kind](data, (answer) => postMessage({ kind, id, ...answer })));
  if (isIdle) channel.port2.postMessage(null);
};
