// Keys of the stage mode: arrows between pages, N shows the notes, Escape ends it. Reports the height of the window.
const KEYS = { ArrowRight: "next", ArrowLeft: "previous", n: "notes", N: "notes", Escape: "exit" };
const PAGE_CHANGE_MS = 3000;

// A busy app can lose a message, and a page change replaces the View. So keys wait here, also between two Views, until
// the app has handled those of the last message. `pressed`, `asked`: number of keys so far, and in the last message.
const waiting = (window.stageKeys ??= { pressed: 0, asked: 0, keys: [], between: new AbortController() });

function keep(event) {
  const target = event.composedPath()[0];
  const isTyping = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "");
  const isUnused = target.type === "range" && !event.key.startsWith("Arrow"); // a slider needs only the arrows
  if ((isTyping && !isUnused) || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return false;
  if (document.body.style.overflow === "hidden") return false; // an image or chart fills the window: Escape closes it
  event.preventDefault();
  waiting.pressed += 1;
  waiting.keys.push(KEYS[event.key]);
  return true;
}

class View {
  constructor() {
    waiting.between.abort();
    this.listening = new AbortController();
    const { signal } = this.listening;
    document.addEventListener("keydown", (event) => keep(event) && this.ask(), { signal });
    window.addEventListener("resize", () => this.report(), { signal });
  }

  stop() {
    this.listening.abort();
    const between = (waiting.between = new AbortController());
    document.addEventListener("keydown", keep, { signal: between.signal });
    setTimeout(() => {
      if (between.signal.aborted) return;
      between.abort(); // the stage mode has ended
      waiting.keys = [];
    }, PAGE_CHANGE_MS);
  }

  receive(component) {
    const isNew = !this.component;
    this.component = component;
    const open = waiting.pressed - component.data.handled;
    waiting.keys = open > 0 ? waiting.keys.slice(-open) : [];
    this.ask(isNew);
    this.report();
  }

  ask(isLate = false) {
    if (!waiting.keys.length || (waiting.asked > this.component.data.handled && !isLate)) return;
    waiting.asked = waiting.pressed;
    this.component.setTriggerValue("keys", [waiting.pressed, ...waiting.keys].join(" "));
    clearTimeout(waiting.timer);
    waiting.timer = setTimeout(() => this.listening.signal.aborted || this.ask(true), PAGE_CHANGE_MS);
  }

  report() {
    const { data, setStateValue } = this.component;
    if (data.height !== window.innerHeight) setStateValue("height", window.innerHeight);
  }
}
