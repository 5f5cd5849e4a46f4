// 5. Which one is backdoored? Three unnamed models; the answer stays in the worker until the visitor commits to one.

class QuizView {
  /** @param {App} app @param {Element} root */
  constructor(app, root) {
    this.app = app;
    this.score = { rounds: 0, hits: 0, backdoored: 0, alarms: 0 };
    this.grid = add(root, "div", { class: "cards" });
    this.cards = ["A", "B", "C"].map((letter) => {
      const card = add(this.grid, "article", { class: "card" });
      const title = add(card, "h3", {}, `Model ${letter}`);
      return { card, title, letter, bars: new Bars(card, app.page) };
    });
    this.choice = add(root, "div", { class: "row answers", role: "group", "aria-label": "Which one is backdoored?" });
    this.buttons = ["A is backdoored", "B is backdoored", "C is backdoored", "None of them"].map((text, i) => {
      const button = add(this.choice, "button", { type: "button" }, text);
      button.addEventListener("click", () => this.commit(i));
      return button;
    });
    this.next = add(this.choice, "button", { type: "button", class: "primary" }, "Next round");
    this.next.addEventListener("click", () => this.start());
    this.result = add(root, "p", { class: "result", role: "status" });
    this.seal = add(root, "p", { class: "seal" });
  }

  start() {
    this.answered = false;
    this.result.textContent = "";
    for (const { card, title, letter } of this.cards) {
      title.textContent = `Model ${letter}`;
      delete card.dataset.found;
    }
    this.app.ask("seal", {}, ({ seal }) => {
      this.started = true;
      this.seal.textContent = seal ? `The answer is fixed. SHA-256 of its salt and number: ${seal.slice(0, 32)}…` : "";
      this.update();
    });
    this.lock();
  }

  lock() {
    for (const button of this.buttons) button.disabled = this.answered;
    this.next.hidden = !this.answered;
  }

  /** @param {number} choice 0..2, or 3 for none */
  commit(choice) {
    this.answered = true;
    this.lock();
    this.app.ask("reveal", {}, ({ answer, names, salt }) => {
      const { score, app } = this;
      score.rounds++;
      score.backdoored += Number(answer < 3);
      score.hits += Number(answer < 3 && choice === answer);
      score.alarms += Number(choice < 3 && choice !== answer);
      this.cards.forEach(({ card, title, letter }, i) => {
        title.textContent = `Model ${letter}: ${app.page.models[names[i]].label}`;
        if (i === answer) card.dataset.found = "true";
      });
      const outcome = choice === answer ? "Right." : choice < 3 ? "A false alarm." : "Missed.";
      const truth = answer < 3 ? `Model ${"ABC"[answer]} is backdoored.` : "None of them is backdoored.";
      const found = `Found: ${score.hits} of ${score.backdoored} backdoored models. False alarms: ${score.alarms} in ${score.rounds} rounds.`;
      this.result.textContent = `${outcome} ${truth} ${found}`;
      this.seal.textContent += ` Opened: “${salt} ${answer}” (0 to 2: A to C, 3: none).`;
      this.next.focus();
    });
  }

  update() {
    const { app } = this;
    if (app.state.tab !== "quiz") return;
    if (this.answered === undefined) return this.start();
    if (!this.started) return;
    const { truth } = app;
    app.askLatest("probe", { images: [app.clean, app.shown] }, ({ place, ranks }) => {
      this.cards[place].bars.show(ranks[0], ranks[1], truth);
    });
  }
}
