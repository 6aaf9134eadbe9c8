/** Starts the page: reads what it is about, connects the viewer, mounts the panels, follows news. */

import { Api } from "./api.js";
import { connectBridge } from "./bridge.js";
import { makeEdits } from "./edits.js";
import { listenForKeys } from "./keys.js";
import { Live } from "./live.js";
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

/**
 * @typedef {import("./types.js").State} State
 * @typedef {import("./types.js").PanelPart} PanelPart
 */

const FIRST_VIEW_MS = 1500;
/** How long the panel waits for the viewer to know its layers, and then for the image. */
const FIRST_STATE_MS = 600;
const FIRST_CHUNKS_MS = 500;

/** @param {State} state @returns {import("./types.js").Store} */
function makeStore(state) {
  /** @type {((state: State) => void)[]} */
  const listeners = [];
  return {
    get state() {
      return state;
    },
    set(change) {
      state = { ...state, ...change };
      for (const listener of listeners) listener(state);
    },
    subscribe(listener) {
      listeners.push(listener);
    },
  };
}

/** @returns {import("./types.js").Boot} */
function readBoot() {
  return JSON.parse(document.getElementById("boot")?.textContent ?? "{}");
}

/** @param {string} id @returns {HTMLElement} */
function required(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element #${id}; reload it.`);
  return element;
}

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

async function start() {
  const { keymap, ...session } = readBoot();
  const root = required("panel");
  const prefix = location.pathname.replace(/\/v\/[^/]+\/?.*$/, "");
  const store = makeStore({ session, head: session.version, operations: [], picks: [], online: true });
  const api = new Api(prefix, session);
  const bridge = await connectBridge(session.label_layer);
  const live = new Live(api, bridge, store);
  // What loads the view runs in this thread, too, and is held up while the panel is built.
  await bridge.rest.begun(FIRST_STATE_MS);
  await bridge.rest.within(FIRST_CHUNKS_MS);
  const notify = mountToasts(required("neuroglancer-container").parentElement ?? document.body);
  const places = followPlaces(api, bridge, store);
  const edits = makeEdits(store, live, notify, places);
  const context = { api, bridge, live, store, notify, keymap, edits };

  const help = mountHelp(keymap);
  const header = mountHeader(root, context, help.toggle);
  const cards = h("div", { class: "cards-column" });
  root.append(cards);
  const parts = [help, header, mountSegment(cards, context), mountEdit(cards, context),
    mountObjects(cards, context), mountHistory(cards, context), mountShare(root, context)];
  store.subscribe((state) => parts.forEach((part) => part.render(state)));
  bridge.onSelection(() => store.set({ picks: bridge.selection() }));
  listenForKeys(keymap, performer(parts));
  watchConnection(store, notify);
  watchSources(bridge, prefix, notify);
  store.set({ picks: bridge.selection() });
  root.classList.add("is-ready");
  // News and history let the first view go first.
  await bridge.rest.within(FIRST_VIEW_MS);
  live.start();
}

void start();
