// What all parts of the page share: the state, the images of the moment, and the line to the worker.

class App {
  /** @param {Page} page @param {Uint8Array[]} scenes @param {{patch: Patch, fixed: Uint8Array[]}} own @param {Worker} worker */
  constructor(page, scenes, own, worker) {
    this.page = page;
    this.scenes = scenes;
    this.own = own;
    this.worker = worker;
    this.state = readState(location.hash, page);
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
    worker.addEventListener("message", ({ data }) => {
      const question = this.questions.get(data.kind);
      if (question?.id === data.id) question?.answer(data);
    });
    addEventListener("hashchange", () => this.change(readState(location.hash, page)));
  }

  get side() {
    return this.page.spec.side;
  }

  get canMove() {
    return this.page.trigger.kind === "patch" || this.drawn !== null;
  }

  get patch() {
    return scalePatch(this.drawn ?? this.own.patch, this.canMove ? this.state.size : this.own.patch.width);
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
    if (this.page.trigger.kind === "fixed" && !this.drawn) return this.photo ?? this.own.fixed[this.state.scene];
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
    this.saving = setTimeout(() => history.replaceState(null, "", `#${formatState(this.state, this.page)}`), 300);
  }

  /** Ask the worker; a new question of a kind replaces the old one. @param {string} kind @param {object} args @param {(reply: any) => void} answer */
  ask(kind, args, answer) {
    this.count += 1;
    this.questions.set(kind, { id: this.count, answer });
    this.worker.postMessage({ kind, id: this.count, ...args });
  }

  /** Ask one question of a kind at a time, up to its last answer; of those that wait, only the newest is asked. @param {string} kind @param {object} args @param {(reply: any) => void} answer */
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
