/** The overlay that lists every key and gesture, from the same table that binds them. */

import { h, iconButton } from "../dom.js";

/** Gestures of the viewer itself that everybody needs. */
const VIEWER_GESTURES = [
  { keys: ["Drag"], help: "Move; in 3D, rotate" },
  { keys: ["Wheel"], help: "One plane up or down (with Shift, ten)" },
  { keys: ["Ctrl+Wheel"], help: "Zoom" },
  { keys: ["Shift+Drag"], help: "Rotate the plane" },
  { keys: ["Right click"], help: "Centre here" },
  { keys: ["Z"], help: "Straighten a rotated view" },
  { keys: ["Space"], help: "Four panels or one" },
];

/** @param {{keys: string[], help: string}[]} bindings */
function makeTable(bindings) {
  const list = h("dl", { class: "keys" });
  for (const { keys, help } of bindings) {
    const shown = keys.flatMap((key, index) => [index > 0 ? " or " : null, h("kbd", { text: key })]);
    list.append(h("dt", {}, ...shown), h("dd", { text: help }));
  }
  return list;
}

/** @param {import("../types.js").KeyBinding[]} keymap one line per action, with all of its keys */
function byAction(keymap) {
  /** @type {Map<string, {keys: string[], help: string}>} */
  const lines = new Map();
  for (const { action, keys, help } of keymap) {
    const line = lines.get(action) ?? { keys: [], help };
    lines.set(action, { ...line, keys: [...line.keys, ...keys] });
  }
  return [...lines.values()];
}

/**
 * @param {import("../types.js").KeyBinding[]} keymap
 * @returns {import("../types.js").PanelPart & {toggle: () => void}}
 */
export function mountHelp(keymap) {
  const close = iconButton({ label: "Close", icon: "close", onClick: () => dialog.close() });
  const dialog = h(
    "dialog",
    { class: "help", attributes: { "aria-labelledby": "help-title" } },
    h("div", { class: "card-head" }, h("h2", { text: "Keys and gestures", attributes: { id: "help-title" } }), close),
    h("div", { class: "help-columns" },
      h("div", {}, h("h3", { text: "Proofreading" }), makeTable(byAction(keymap))),
      h("div", {}, h("h3", { text: "Looking around" }), makeTable(VIEWER_GESTURES))),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  const toggle = () => (dialog.open ? dialog.close() : dialog.showModal());
  return { toggle, actions: { help: toggle }, render() {} };
}
