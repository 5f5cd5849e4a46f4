// Keys of the stage mode: arrows between pages, N shows the notes, Escape ends it. Reports the height of the window.
const KEYS = { ArrowRight: "next", ArrowLeft: "previous", n: "notes", N: "notes", Escape: "exit" };

export default function (component) {
  const listen = (event) => {
    const target = event.composedPath()[0];
    const isTyping = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "");
    if (isTyping || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
    event.preventDefault();
    component.setTriggerValue("key", KEYS[event.key]);
  };
  const report = () => {
    if (component.data.height !== window.innerHeight) component.setStateValue("height", window.innerHeight);
  };
  document.addEventListener("keydown", listen);
  window.addEventListener("resize", report);
  report();
  return () => {
    document.removeEventListener("keydown", listen);
    window.removeEventListener("resize", report);
  };
}
