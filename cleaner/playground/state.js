// What is on screen, as text behind "#" in the address: a link opens the same view. Other people write such links, so
// values that make no sense are ignored.

/**
 * @typedef {{label: string, stage: string, run: string, ca: number | null, asr: number | null, color: string, sign: string}} Shown
 * @typedef {{label: string, kind: "patch" | "full" | "fixed", width: number, height: number, gain: string, shift: string,
 *   places: number[][][], pixels: string}} TriggerData
 * @typedef {{spec: Spec, classes: string[], target: number, models: Shown[], n: number, attacked: number,
 *   scenes: {labels: number[], pixels: string}, trigger: TriggerData, quiz: {key: string, sealed: string}}} Page
 *
 * `x`, `y`: where the trigger was moved, -1 for its own place; `shown`: one bit a model; `cleaned`: end of the slider.
 * @typedef {{tab: string, scene: number, x: number, y: number, size: number, strength: number, on: boolean, shown: number,
 *   mix: number, cleaned: number}} State
 */
const TABS = ["drag", "mix", "where", "what", "quiz"];

/** @param {Page} page @returns {State} */
function firstState(page) {
  const { models, trigger, scenes, target } = page;
  const scene = Math.max(0, scenes.labels.findIndex((label) => label !== target));
  const last = models.length - 1;
  return { tab: TABS[0], scene, x: -1, y: -1, size: trigger.width || 8, strength: 1, on: true, shown: 2 ** models.length - 1, mix: 1, cleaned: last };
}

/** @param {string} hash @param {Page} page @returns {State} */
function readState(hash, page) {
  const [state, given] = [firstState(page), new URLSearchParams(hash.slice(1, 200))];
  const whole = (/** @type {string} */ key, /** @type {number} */ low, /** @type {number} */ high, /** @type {number} */ otherwise) => {
    const text = given.get(key) ?? "";
    return /^\d{1,4}$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : otherwise;
  };
  const { side } = page.spec;
  const tab = given.get("t") ?? "";
  return {
    tab: TABS.includes(tab) ? tab : state.tab,
    scene: whole("s", 0, page.scenes.labels.length - 1, state.scene),
    x: whole("x", 0, side - 1, -1),
    y: whole("y", 0, side - 1, -1),
    size: whole("z", 2, side / 2, state.size),
    strength: whole("f", 0, 100, 100) / 100,
    on: whole("o", 0, 1, 1) === 1,
    shown: whole("m", 1, state.shown, state.shown),
    mix: whole("w", 0, 200, 100) / 100,
    cleaned: whole("c", 2, page.models.length - 1, state.cleaned),
  };
}

// Return the shortest text that `readState` understands.
/** @param {State} state @param {Page} page */
function formatState(state, page) {
  const first = firstState(page);
  const all = { t: state.tab, s: state.scene, x: state.x, y: state.y, z: state.size, f: Math.round(100 * state.strength), o: Number(state.on) };
  const values = { ...all, m: state.shown, w: Math.round(100 * state.mix), c: state.cleaned };
  const usual = { t: first.tab, s: first.scene, x: -1, y: -1, z: first.size, f: 100, o: 1, m: first.shown, w: 100, c: first.cleaned };
  const changed = Object.entries(values).filter(([key, value]) => value !== usual[/** @type {keyof typeof usual} */ (key)]);
  return changed.map(([key, value]) => `${key}=${value}`).join("&");
}
