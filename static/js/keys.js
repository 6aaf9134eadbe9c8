/**
 * Turns keys and gestures into the page's actions.
 *
 * Over the viewer, the viewer itself matches the bindings (its configuration has them) and sends
 * `action:mitoglance-<name>`. While the focus is in the panel the same table is matched here.
 */

const PREFIX = "action:mitoglance-";
const MODIFIERS = /** @type {const} */ ([["control", "ctrlKey"], ["alt", "altKey"], ["meta", "metaKey"], ["shift", "shiftKey"]]);

/** @param {KeyboardEvent} event @returns {string} as the viewer names it, such as `control+keyz` */
export function eventName(event) {
  const modifiers = MODIFIERS.filter(([, flag]) => event[flag]).map(([name]) => name);
  return [...modifiers, event.code.toLowerCase()].join("+");
}

/** @param {string} event @returns {string} with the modifiers in the order of `eventName` */
function normalised(event) {
  const parts = event.split("+");
  const key = parts.pop() ?? "";
  return [...MODIFIERS.map(([name]) => name).filter((name) => parts.includes(name)), key].join("+");
}

/** @param {Element} target @param {KeyboardEvent} event whether the element itself wants the key */
function isForElement(target, event) {
  if (target.closest("input:not([readonly], [type=checkbox]), textarea, select, [contenteditable]")) return event.key !== "Escape";
  return Boolean(target.closest("button, summary, a, input")) && ["Enter", " "].includes(event.key);
}

/**
 * @param {import("./types.js").KeyBinding[]} keymap
 * @param {(action: string) => void} perform
 */
export function listenForKeys(keymap, perform) {
  /** @type {Map<string, string>} */
  const byEvent = new Map();
  for (const { action, events = [] } of keymap) {
    for (const event of events) byEvent.set(normalised(event), action);
  }
  // An action may stand in several lines of the table, and is heard once.
  for (const action of new Set(keymap.map((line) => line.action))) {
    document.addEventListener(PREFIX + action, () => perform(action));
  }
  document.addEventListener("keydown", (event) => {
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("#neuroglancer-container, dialog") || isForElement(target, event)) return;
    const action = byEvent.get(eventName(event));
    if (action === undefined) return;
    event.preventDefault();
    perform(action);
  });
}
