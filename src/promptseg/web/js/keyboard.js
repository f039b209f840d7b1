/**
 * Every key and what it does: one table, which the page's listener and the help both read.
 *
 * @typedef {{keys: string[], command: string, group: string, repeats?: boolean}} Binding
 *   keys as `KeyboardEvent.key`, with "Ctrl+" and "Shift+" before it where these matter
 */

/** @type {Binding[]} */
export const BINDINGS = [
  { keys: ["o"], command: "open", group: "page" },
  { keys: ["/"], command: "focusPhrase", group: "page" },
  { keys: ["e"], command: "export", group: "page" },
  { keys: ["?"], command: "help", group: "page" },
  { keys: ["v"], command: "toolPan", group: "tools" },
  { keys: ["p"], command: "toolPoint", group: "tools" },
  { keys: ["b"], command: "toolBox", group: "tools" },
  { keys: ["s"], command: "toolScribble", group: "tools" },
  { keys: ["x"], command: "exemplar", group: "tools" },
  { keys: ["n"], command: "sign", group: "tools" },
  { keys: ["["], command: "thinner", group: "tools", repeats: true },
  { keys: ["]"], command: "thicker", group: "tools", repeats: true },
  { keys: ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"], command: "arrow", group: "canvas", repeats: true },
  { keys: ["Enter"], command: "enter", group: "canvas" },
  { keys: ["Shift+Enter"], command: "enterNegative", group: "canvas" },
  { keys: ["Escape"], command: "escape", group: "canvas" },
  { keys: ["1", "2", "3"], command: "candidate", group: "objects" },
  { keys: ["j", "k"], command: "walk", group: "objects", repeats: true },
  { keys: ["Delete", "Backspace"], command: "remove", group: "objects" },
  { keys: ["h"], command: "hide", group: "objects" },
  { keys: ["Ctrl+z"], command: "undo", group: "history", repeats: true },
  { keys: ["Ctrl+Shift+z", "Ctrl+y"], command: "redo", group: "history", repeats: true },
  { keys: ["+", "="], command: "zoomIn", group: "view", repeats: true },
  { keys: ["-"], command: "zoomOut", group: "view", repeats: true },
  { keys: ["0"], command: "zoomFit", group: "view" },
];

/**
 * Call the command of each key; letters stay letters where text is written.
 *
 * @param {Object<string, (event: KeyboardEvent) => boolean|void>} commands `false`: the key is left to the browser
 */
export function listenToKeys(commands) {
  const byKey = new Map(BINDINGS.flatMap((binding) => binding.keys.map((key) => [key, binding])));
  window.addEventListener("keydown", (event) => {
    const binding = byKey.get(nameOf(event));
    if (!binding || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.repeat && !binding.repeats) return;
    if (isTaken(event)) return;
    if (commands[binding.command](event) !== false) event.preventDefault();
  });
}

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  // For signs such as "?" and "+" the keyboard's layout says whether Shift is needed.
  const shift = event.shiftKey && (control || key.length > 1) && !key.startsWith("Arrow") ? "Shift+" : "";
  return control + shift + key;
}

/** Whether the focused element has a use of its own for the key. */
function isTaken({ target, key, ctrlKey, metaKey }) {
  const isControl = ctrlKey || metaKey;
  const field = target.closest("input:not([type=range]):not([type=checkbox])");
  // In an empty field there is nothing to undo but what the page did.
  if (field) return !isControl || field.value !== "";
  if (isControl) return false;
  if (target.closest("select")) return true;
  if (target.closest("input[type=range]")) return key.startsWith("Arrow");
  return key === "Enter" && target.closest("button, a, label, input") !== null;
}
