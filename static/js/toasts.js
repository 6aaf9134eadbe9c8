/** Short messages over the viewer; errors stay until they are closed. */

import { button, h, iconButton } from "./dom.js";

const SHOWN_MS = 4000;
const MOST = 3;

/** @param {HTMLElement} parent @returns {import("./types.js").Notify} */
export function mountToasts(parent) {
  const polite = h("div", { class: "toasts", attributes: { "aria-live": "polite" } });
  parent.append(polite);

  return (text, { error = false, key = text, until = null, action = null } = {}) => {
    polite.querySelector(`[data-key="${CSS.escape(key)}"]`)?.remove();
    const toast = h(
      "div",
      { class: error ? "toast is-error" : "toast", attributes: { "data-key": key, role: error ? "alert" : "status" } },
      h("span", { text }),
      action && button({ label: action.label, onClick: action.onClick }),
      iconButton({ label: "Close", icon: "close", onClick: () => toast.remove() }),
    );
    polite.append(toast);
    while (polite.children.length > MOST) polite.firstElementChild?.remove();
    until?.addEventListener("abort", () => toast.remove());
    if (!error && !until) setTimeout(() => toast.remove(), SHOWN_MS);
  };
}
