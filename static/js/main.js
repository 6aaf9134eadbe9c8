/** Starts the page: reads what it is about, connects the viewer, and lets the view go before all else. */

import { Api } from "./api.js";
import { connectBridge } from "./bridge.js";
import { Live } from "./live.js";

/** @typedef {import("./types.js").State} State */

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

async function start() {
  const { keymap, ...session } = readBoot();
  const prefix = location.pathname.replace(/\/v\/[^/]+\/?.*$/, "");
  const store = makeStore({ session, head: session.version, operations: [], picks: [], online: true });
  const api = new Api(prefix, session);
  const bridge = await connectBridge(session.label_layer);
  const live = new Live(api, bridge, store);
  // What loads the view runs in this thread, too, and is held up while the panel is read and built.
  await bridge.rest.begun(FIRST_STATE_MS);
  await bridge.rest.within(FIRST_CHUNKS_MS);
  const { mountPanel } = await import("./panel.js");
  mountPanel(required("panel"), prefix, { api, bridge, live, store, keymap });
  // News and history let the first view go first.
  await bridge.rest.within(FIRST_VIEW_MS);
  live.start();
}

void start();
