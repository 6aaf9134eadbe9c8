/** The panel beside the viewer: its cards, the keys, and what it says when something is wrong. */

import { makeEdits } from "./edits.js";
import { listenForKeys } from "./keys.js";
import { followPlaces } from "./places.js";
import { mountEdit } from "./panels/edit.js";
import { mountHeader } from "./panels/header.js";
import { mountHelp } from "./panels/help.js";
import { mountHistory } from "./panels/history.js";
import { mountObjects } from "./panels/objects.js";
import { mountSegment } from "./panels/segment.js";
import { mountShare } from "./panels/share.js";
import { watchSources } from "./sources.js";
import { mountToasts } from "./toasts.js";
import { h } from "./dom.js";

/** @typedef {import("./types.js").PanelPart} PanelPart */

/** @param {import("./types.js").Store} store @param {import("./types.js").Notify} notify */
function watchConnection(store, notify) {
  addEventListener("mitoglance:connection", (event) => {
    const { online, failures, status } = /** @type {CustomEvent} */ (event).detail;
    if (online || failures > 1) store.set({ online });
    if (status === 404 || status === 410) {
      notify("This page's session has ended. Open the volume again from the start page.", { error: true, key: "session" });
    }
  });
}

/** @param {PanelPart[]} parts @returns {(action: string) => void} */
function performer(parts) {
  return (action) => {
    const alone = parts.find((part) => part.claims?.(action));
    for (const { actions } of alone ? [alone] : parts) void actions[action]?.();
  };
}

/**
 * @param {HTMLElement} root where the cards go @param {string} prefix of the server's addresses
 * @param {Omit<import("./types.js").Context, "notify" | "edits">} parts
 */
export function mountPanel(root, prefix, parts) {
  const { api, bridge, live, store, keymap } = parts;
  const notify = mountToasts(root.ownerDocument.getElementById("neuroglancer-container")?.parentElement ?? document.body);
  const places = followPlaces(api, bridge, store);
  const edits = makeEdits(store, live, notify, places);
  const context = { ...parts, notify, edits };

  const help = mountHelp(keymap);
  const header = mountHeader(root, context, help.toggle);
  const cards = h("div", { class: "cards-column" });
  root.append(cards);
  const mounted = [help, header, mountSegment(cards, context), mountEdit(cards, context),
    mountObjects(cards, context), mountHistory(cards, context), mountShare(root, context)];
  store.subscribe((state) => mounted.forEach((part) => part.render(state)));
  bridge.onSelection(() => store.set({ picks: bridge.selection() }));
  listenForKeys(keymap, performer(mounted));
  watchConnection(store, notify);
  watchSources(bridge, prefix, notify);
  store.set({ picks: bridge.selection() });
  root.classList.add("is-ready");
}
