// What all parts of the page share: the state, the images of the moment, and the line to the worker.

class App {
  // `hash`, `save`: where the state comes from, and where it goes as a text.
  /**
   * @param {Page} page @param {Uint8Array[]} scenes @param {{patch: Patch, fixed: Uint8Array[]}} own @param {Worker} worker
   * @param {string} hash @param {(text: string) => void} save
   */
  constructor(page, scenes, own, worker, hash, save) {
    this.page = page;
    this.scenes = scenes;
    this.own = own;
    this.worker = worker;
    this.save = save;
    this.state = readState(hash, page);
    /** @type {Uint8Array | null} an image of the visitor */
    this.photo = null;
    /** @type {Patch | null} a trigger that the visitor drew */
    this.drawn = null;
    this.version = 0; // counts photos and drawings, which the address does not hold
    /** @type {{update: () => void}[]} */
    this.views = [];
    /** @type {Map<string, {id: number, answer: (reply: any) => void}>} */
    this.questions = new Map();
    /** @type {Map<string, {args: object, answer: (reply: any) => void} | null>} kinds in flight, and what to ask next */
    this.waiting = new Map();
    this.count = 0;
    this.saving = 0;
    worker.onmessage = ({ data }) => {
      const question = this.questions.get(data.kind);
      if (question?.id === data.id) question?.answer(data);
    };
  }

  get side() {
    return this.page.spec.side;
  }

  get canMove() {
    return this.page.trigger.kind === "patch" || this.drawn !== null;
  }

  get patch() {
    const patch = scalePatch(this.drawn ?? this.own.patch, this.canMove ? this.state.size : this.own.patch.width);
    return fadePatch(patch, this.state.strength);
  }

  get clean() {
    return this.photo ?? this.scenes[this.state.scene];
  }

  /** Corners of the trigger on the image: its own, or where it was moved. */
  get places() {
    const { x, y, size, scene } = this.state;
    if (this.canMove && x >= 0 && y >= 0) return [[x, y]];
    const grown = this.canMove ? size - this.own.patch.width : 0; // stays at its border
    const inside = (/** @type {number} */ at) => Math.max(0, at > 0 ? at - grown : at);
    return this.page.trigger.places ? this.page.trigger.places[scene].map((place) => place.map(inside)) : [[0, 0]];
  }

  get triggered() {
    if (this.page.trigger.kind === "fixed" && !this.drawn) return this.photo ?? fadePixels(this.clean, this.own.fixed[this.state.scene], this.state.strength);
    return this.places.reduce((image, [left, top]) => applyPatch(image, this.side, this.patch, left, top), this.clean);
  }

  /** The image as it is shown, with the trigger if it is on. */
  get shown() {
    return this.state.on ? this.triggered : this.clean;
  }

  /** Numbers of the models that are switched on. */
  get models() {
    return this.page.models.map((_, i) => i).filter((i) => this.state.shown & (1 << i));
  }

  /** The true class of the image; -1 for a visitor's own. */
  get truth() {
    return this.photo ? -1 : this.page.scenes.labels[this.state.scene];
  }

  /** @param {Partial<State>} changes */
  change(changes) {
    Object.assign(this.state, changes);
    for (const view of this.views) view.update();
    clearTimeout(this.saving);
    // Not at each step of a drag: browsers limit how often an address changes.
    this.saving = setTimeout(() => this.save(formatState(this.state, this.page)), 300);
  }

  // Ask the worker; a new question of a kind replaces the old one.
  /** @param {string} kind @param {object} args @param {(reply: any) => void} answer */
  ask(kind, args, answer) {
    this.count += 1;
    this.questions.set(kind, { id: this.count, answer });
    this.worker.postMessage({ kind, id: this.count, ...args });
  }

  // Ask one question of a kind at a time, up to its last answer; of those that wait, only the newest is asked.
  /** @param {string} kind @param {object} args @param {(reply: any) => void} answer */
  askLatest(kind, args, answer) {
    if (this.waiting.has(kind)) return void this.waiting.set(kind, { args, answer });
    this.waiting.set(kind, null);
    this.ask(kind, args, (reply) => {
      answer(reply);
      if (!reply.isLast) return;
      const next = this.waiting.get(kind);
      this.waiting.delete(kind);
      if (next) this.askLatest(kind, next.args, next.answer);
    });
  }

  /** @param {string} kind */
  stop(kind) {
    this.worker.postMessage({ kind, id: 0, stop: true });
  }
}

// Return the app of a page, its images unpacked.
/** @param {Page} page @param {Worker} worker @param {string} hash @param {(text: string) => void} save */
async function openApp(page, worker, hash, save) {
  const { spec, trigger } = page;
  const scenes = await unpackImages(page.scenes.pixels, spec.side);
  const numbers = async (/** @type {string} */ text) => new Float32Array((await inflate(text)).buffer);
  const fixed = trigger.kind === "fixed" ? await unpackImages(trigger.pixels, spec.side) : [];
  const [gain, shift] = fixed.length ? [new Float32Array(), new Float32Array()] : await Promise.all([numbers(trigger.gain), numbers(trigger.shift)]);
  const patch = { width: trigger.width ?? 0, height: trigger.height ?? 0, gain, shift };
  return new App(page, scenes, { patch, fixed }, worker, hash, save);
}
