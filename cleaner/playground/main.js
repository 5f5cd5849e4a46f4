// Start: read the data from the page, draw the first view, send the models to the worker.

/** @param {string} id */
const readJson = (id) => JSON.parse(/** @type {HTMLElement} */ (document.getElementById(id)).textContent ?? "");

/** @param {Page} page @param {Worker} worker */
async function buildPage(page, worker) {
  const { spec, trigger, quiz, scenes } = page;
  const images = await unpackImages(scenes.pixels, spec.side);
  const numbers = async (/** @type {string} */ text) => new Float32Array((await inflate(text)).buffer);
  const fixed = trigger.kind === "fixed" ? await unpackImages(trigger.pixels, spec.side) : [];
  const [gain, shift] = fixed.length ? [new Float32Array(), new Float32Array()] : await Promise.all([numbers(trigger.gain), numbers(trigger.shift)]);
  const patch = { width: trigger.width ?? 0, height: trigger.height ?? 0, gain, shift };
  const app = new App(page, images, { patch, fixed }, worker);
  const stage = new Stage(app, find("#stage"));
  const kinds = [DragView, SliderView, PositionView, OcclusionView, QuizView];
  const views = kinds.map((View, i) => new View(app, find(`#${TABS[i]} .content`)));
  app.views = [makeTabs(app), stage, makeSwitches(app, find("#switches"))];
  for (const view of app.views) view.update();
  const triggered = fixed.length
    ? fixed
    : images.map((image, i) => trigger.places[i].reduce((pixels, [left, top]) => applyPatch(pixels, spec.side, patch, left, top), image));
  const bytes = (/** @type {string} */ hex) => (hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  const key = bytes(quiz.key);
  const roles = bytes(quiz.sealed).map((code, i) => code ^ key[i % key.length]);
  addEventListener("resize", () => app.change({})); // the chart follows its width
  worker.addEventListener("message", ({ data }) => {
    if (data.kind !== "ready") return;
    app.views.push(...views);
    app.change({});
    document.documentElement.dataset.ready = "true";
  });
  worker.postMessage({ spec, weights: readJson("weights"), scenes: images, triggered, labels: scenes.labels, target: page.target, roles });
}

/** @param {App} app */
function makeTabs(app) {
  const list = find("#tabs");
  const buttons = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("button")]);
  for (const [i, button] of buttons.entries()) button.addEventListener("click", () => app.change({ tab: TABS[i] }));
  enableArrows(list, (button) => button.click());
  return {
    update: () =>
      buttons.forEach((button, i) => {
        const isChosen = TABS[i] === app.state.tab;
        button.setAttribute("aria-selected", String(isChosen));
        button.tabIndex = isChosen ? 0 : -1;
        find(`#${TABS[i]}`).hidden = !isChosen;
        document.body.dataset.tab = app.state.tab;
      }),
  };
}

// The rest of the file, with the weights, is still being read: what is here is drawn before it.
addEventListener("DOMContentLoaded", () => {
  const source = URL.createObjectURL(new Blob([readJson("worker")], { type: "text/javascript" }));
  buildPage(readJson("page"), new Worker(source));
});
