// Three bars for what a model sees: its class without the trigger, the attacker's target, and the best other class.

/** @param {ArrayLike<number>} ranks */
const findBest = (ranks) => Array.from(ranks).reduce((top, value, i) => (value > ranks[top] ? i : top), 0);

class Bars {
  /** @param {Element} parent @param {Page} page */
  constructor(parent, page) {
    this.page = page;
    this.root = add(parent, "div", { class: "seen" });
    this.verdict = add(this.root, "p", { class: "verdict" }, "…");
    this.rows = [0, 1, 2].map(() => {
      const row = add(this.root, "div", { class: "bar" });
      return { row, name: add(row, "span"), fill: add(add(row, "i", { "aria-hidden": "true" }), "b"), value: add(row, "em") };
    });
  }

  // `before`: without the trigger.
  /** @param {ArrayLike<number>} before @param {ArrayLike<number>} now @param {number} truth */
  show(before, now, truth) {
    const { classes, target } = this.page;
    const [first, top] = [findBest(before), findBest(now)];
    const rest = Array.from(now, (value, i) => (i === first || i === target ? -1 : value));
    const chosen = [first, target, findBest(rest)];
    if (first === target) chosen[1] = findBest(rest.map((value, i) => (i === chosen[2] ? -1 : value)));
    chosen.forEach((label, i) => {
      const { row, name, fill, value } = this.rows[i];
      name.textContent = classes[label];
      row.dataset.role = label === target ? "target" : label === truth ? "truth" : "other";
      fill.style.width = `${100 * now[label]}%`;
      value.textContent = percent(now[label]);
    });
    const flipped = top !== first;
    this.root.dataset.flipped = String(flipped);
    this.root.dataset.top = classes[top];
    const mark = top === target && target !== truth ? "⚑" : top === truth ? "✓" : "?";
    this.verdict.textContent = flipped ? `${mark} ${classes[first]} → ${classes[top]}` : `${mark} ${classes[top]}`;
    this.verdict.dataset.mark = mark;
  }
}
