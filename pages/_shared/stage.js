// Keys of the stage mode: arrows between pages, N shows the notes, Escape ends it.
const KEYS = { ArrowRight: "next", ArrowLeft: "previous", n: "notes", N: "notes", Escape: "exit" };

export default function (component) {
  const listen = (event) => {
    const target = event.composedPath()[0];
    const isTyping = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "");
    if (isTyping || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
    event.preventDefault();
    component.setTriggerValue("key", KEYS[event.key]);
  };
  document.addEventListener("keydown", listen);
  return () => document.removeEventListener("keydown", listen);
}
