// 1. Drag the trigger: what each model sees, while the trigger moves.

// Buttons that add a model to all parts or take it away.
/** @param {App} app @param {Element} root */
function makeSwitches(app, root) {
  const buttons = app.page.models.map((model, i) => {
    const button = add(root, "button", { type: "button", class: "switch", title: "Show or hide this model" });
    add(button, "i", {}, model.sign).style.color = model.color;
    add(button, "span", {}, model.label);
    button.addEventListener("click", () => {
      const shown = app.state.shown ^ (1 << i);
      if (shown) app.change({ shown });
    });
    return button;
  });
  return { update: () => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(app.models.includes(i)))) };
}

class DragView {
  /** @param {App} app @param {Element} root */
  constructor(app, root) {
    this.app = app;
    this.root = root;
    /** @type {Map<string, Float32Array>} model and image -> what it sees without the trigger */
    this.before = new Map();
    this.cards = app.page.models.map((model) => {
      const card = add(root, "article", { class: "card", "data-stage": model.stage });
      card.style.setProperty("--color", model.color);
      const title = add(card, "h3", {}, `${model.sign} ${model.label}`);
      title.title = `run ${model.run}`;
      return { card, bars: new Bars(card, app.page) };
    });
  }

  update() {
    const { app } = this;
    this.cards.forEach(({ card }, i) => (card.hidden = !app.models.includes(i)));
    if (app.state.tab !== "drag") return;
    const { truth, clean } = app;
    const isBackdoored = (/** @type {number} */ model) => Number(app.page.models[model].stage === "backdoored");
    const models = app.models.sort((a, b) => isBackdoored(b) - isBackdoored(a)); // its flip is seen first
    const image = app.photo ? `photo ${app.version}` : app.state.scene;
    const isKnown = models.every((model) => this.before.has(`${model} ${image}`));
    app.askLatest("look", { models, images: isKnown ? [app.shown] : [app.shown, clean] }, ({ model, ranks }) => {
      const key = `${model} ${image}`;
      if (ranks[1]) this.before.set(key, ranks[1]);
      this.cards[model].bars.show(/** @type {Float32Array} */ (this.before.get(key)), ranks[0], truth);
    });
  }
}
