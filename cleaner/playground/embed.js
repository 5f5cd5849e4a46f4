// The first part of the playground in a page of the app: the image with its trigger, and what each model sees. The
// models stay in their worker while the page shows another image.

/** @type {Map<string, string>} place in the app -> its state, kept while pages change */
const states = new Map();

class View {
  /** @param {Element} parent */
  constructor(parent) {
    this.root = /** @type {Element} */ (parent.querySelector(".playground"));
    this.place = this.key = this.url = "";
    /** @type {Worker | null} */
    this.worker = null;
  }

  stop() {
    this.worker?.terminate();
    this.url = "";
  }

  /** @param {{data: {place: string, key: string, weights: string, link: string, page: Page}}} component */
  async receive({ data }) {
    if (data.key === this.key && this.worker) return;
    this.key = data.key;
    const isNew = data.weights !== this.url;
    const worker = isNew ? this.start(data.weights) : /** @type {Worker} */ (this.worker);
    const { page, place, key } = data;
    const first = states.get(place) ?? (data.link ? location.hash : "");
    const app = await openApp(page, worker, first, (text) => {
      states.set(place, `#${text}`);
      if (link) link.href = `${data.link}#${text}`;
    });
    if (this.key !== key) return; // another image was chosen meanwhile
    app.state.tab = TABS[0];
    this.root.replaceChildren();
    const stage = add(this.root, "section", { id: "stage" });
    app.views = [new Stage(app, stage)];
    const link = data.link ? add(stage, "a", { target: "_blank", href: data.link }, "Link to this view") : null;
    const cards = add(add(this.root, "div", { id: "panels" }), "div", { class: "content cards" });
    for (const view of app.views) view.update();
    if (isNew) {
      const weights = await (await fetch(new URL(`.${data.weights}`, location.href))).json();
      const { spec, scenes, target } = page;
      await new Promise((done) => app.ask("load", { spec, weights, scenes: [], triggered: [], labels: scenes.labels, target, roles: [] }, done));
    }
    app.views.push(new DragView(app, cards));
    app.change({});
    /** @type {HTMLElement} */ (this.root).dataset.ready = "true";
  }

  /** @param {string} url */
  start(url) {
    this.worker?.terminate();
    this.url = url;
    return (this.worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }))));
  }
}
