// Start: read the data from the page, draw the first view, send the models to the worker.

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);

/** @param {string} id */
const readJson = (id) => JSON.parse(find(`#${id}`).textContent);

/** @param {Page} page @param {Worker} worker */
async function buildPage(page, worker) {
  const app = await openApp(page, worker, location.hash, (text) => history.replaceState(null, "", `#${text}`));
  addEventListener("hashchange", () => app.change(readState(location.hash, page)));
  const kinds = [DragView, SliderView, PositionView, OcclusionView, QuizView];
  const views = kinds.map((View, i) => new View(app, find(`#${TABS[i]} .content`)));
  app.views = [makeTabs(app), new Stage(app, find("#stage")), makeSwitches(app, find("#switches"))];
  for (const view of app.views) view.update();
  const { spec, scenes, trigger, quiz } = page;
  const triggered = app.own.fixed.length
    ? app.own.fixed
    : app.scenes.map((image, i) => trigger.places[i].reduce((pixels, [left, top]) => applyPatch(pixels, spec.side, app.own.patch, left, top), image));
  const bytes = (/** @type {string} */ hex) => (hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  const key = bytes(quiz.key);
  const roles = bytes(quiz.sealed).map((code, i) => code ^ key[i % key.length]);
  addEventListener("resize", () => app.change({})); // the chart follows its width
  app.ask("load", { spec, weights: readJson("weights"), scenes: app.scenes, triggered, labels: scenes.labels, target: page.target, roles }, () => {
    app.views.push(...views);
    app.change({});
    document.documentElement.dataset.ready = "true";
  });
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
