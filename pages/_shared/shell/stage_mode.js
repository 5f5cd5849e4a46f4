// Keys of the stage mode: arrows between pages, N shows the notes, Escape ends it. Reports the height of the window.
const KEYS = { ArrowRight: "next", ArrowLeft: "previous", n: "notes", N: "notes", Escape: "exit" };

class View {
  constructor() {
    this.listening = new AbortController();
    const { signal } = this.listening;
    document.addEventListener("keydown", (event) => this.press(event), { signal });
    window.addEventListener("resize", () => this.report(), { signal });
  }

  stop() {
    this.listening.abort();
  }

  receive(component) {
    this.component = component;
    this.report();
  }

  press(event) {
    const target = event.composedPath()[0];
    const isTyping = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "");
    const isUnused = target.type === "range" && !event.key.startsWith("Arrow"); // a slider needs only the arrows
    if ((isTyping && !isUnused) || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
    if (document.body.style.overflow === "hidden") return; // an image or chart fills the window: Escape closes it
    event.preventDefault();
    this.component.setTriggerValue("key", KEYS[event.key]);
  }

  report() {
    const { data, setStateValue } = this.component;
    if (data.height !== window.innerHeight) setStateValue("height", window.innerHeight);
  }
}
