/**
 * Says when an image (or anything else the viewer reads) does not come, and finds another way.
 *
 * The guard of the chunk worker (guard.js) asks again for what did not come and reports here. An
 * image, or labels, that this browser reads from its source is read through the server where only
 * that works.
 */

/**
 * @typedef {{own: string, kind: "waiting" | "over" | "closed" | "damaged", host: string, reason: string, said: string}} Report
 *   `own`: the server's address (`image/…`, `beside/…`) of what is read from its source; empty for what the server sends
 */

const SHOWN_AFTER_MS = 1500;
const OTHER_WAY_AFTER_MS = 4000;
const ASK_AGAIN_MS = 15000;
const REMEMBERED_MS = 3600000;
const NOT_EMPTY = "What is dark has not been read; it is not empty.";

/** @param {string} own @returns {boolean} whether it is labels, which are many */
const isLabels = (own) => own.startsWith("beside/");

/** @param {Report} report @returns {string} */
function sentence({ own, host, reason, said }) {
  const kept = isLabels(own) ? `the labels ${own.split("/")[2]} are` : "this image is";
  if (own !== "") return `${host}, where ${kept} kept, ${reason}. It is asked again. ${NOT_EMPTY}`;
  return said ? `${said} It is tried again. ${NOT_EMPTY}` : `The server ${reason}. It is asked again. ${NOT_EMPTY}`;
}

/**
 * Whether the server can read an image or labels: the first chunk of a level that is cheap to read.
 *
 * @param {string} prefix @param {string} own @returns {Promise<boolean>}
 */
async function canServerRead(prefix, own) {
  try {
    const base = `${prefix}/${own}`;
    const { scales } = await (await fetch(`${base}/info`)).json();
    // Coarse labels may have to be computed from all that lies below.
    const { key, size, chunk_sizes } = scales.at(isLabels(own) ? 0 : -1);
    const ends = size.map((/** @type {number} */ side, /** @type {number} */ i) => Math.min(side, chunk_sizes[0][i]));
    return (await fetch(`${base}/${key}/0-${ends[0]}_0-${ends[1]}_0-${ends[2]}`)).ok;
  } catch {
    return false;
  }
}

/**
 * @param {import("./bridge.js").Bridge} bridge
 * @param {string} prefix where the server lives on this origin
 * @param {import("./types.js").Notify} notify
 */
export function watchSources(bridge, prefix, notify) {
  /** @type {Map<string, {since: number, asked: number, end: AbortController, text: string}>} */
  const troubles = new Map();
  /** @type {Set<string>} what is read through the server by now */
  const moved = new Set();

  /** @param {string} own */
  function readThroughServer(own) {
    if (moved.has(own)) return;
    moved.add(own);
    over(own);
    const ours = `${location.origin}${prefix}`;
    const direct = `${ours}/direct/${own}`;
    const through = (/** @type {any} */ value) => {
      // The viewer writes `zarr2://X` also as `X/|zarr2:`.
      const isDirect = typeof value === "string" && [`${direct}/`, `${direct}|`].some((one) => `${value}/`.includes(one));
      return isDirect ? `precomputed://${ours}/${own}` : value;
    };
    const state = JSON.parse(JSON.stringify(bridge.viewState()));
    for (const layer of state.layers ?? []) {
      const { source } = layer;
      if (Array.isArray(source)) layer.source = source.map(through);
      else if (source && typeof source === "object") layer.source = { ...source, url: through(source.url) };
      else layer.source = through(source);
    }
    bridge.restore(state);
  }

  /** @param {string} own @param {string} host */
  async function findOtherWay(own, host) {
    if (!(await canServerRead(prefix, own)) || !troubles.has(own)) return;
    localStorage.setItem("mitoglance-through-server", String(Date.now() + REMEMBERED_MS));
    readThroughServer(own);
    const comes = isLabels(own) ? `the labels ${own.split("/")[2]} now come` : "the image now comes";
    notify(`${host} cannot be read by this browser; ${comes} through the server.`);
  }

  /** @param {string} own */
  function over(own) {
    troubles.get(own)?.end.abort();
    troubles.delete(own);
  }

  /** @param {Report} report */
  function waiting(report) {
    const { own, host } = report;
    const trouble = troubles.get(own) ?? { since: Date.now(), asked: 0, end: new AbortController(), text: "" };
    troubles.set(own, trouble);
    const lasted = Date.now() - trouble.since;
    const text = sentence(report);
    if (lasted > SHOWN_AFTER_MS && text !== trouble.text) {
      trouble.text = text;
      const action = { label: "Read through the server", onClick: () => readThroughServer(own) };
      notify(text, { key: `source-${own}`, until: trouble.end.signal, action: own === "" ? null : action });
    }
    if (own !== "" && lasted > OTHER_WAY_AFTER_MS && Date.now() - trouble.asked > ASK_AGAIN_MS) {
      trouble.asked = Date.now();
      void findOtherWay(own, host);
    }
  }

  addEventListener("mitoglance:source", (event) => {
    /** @type {Report} */
    const report = /** @type {CustomEvent} */ (event).detail;
    if (report.kind === "waiting" && !moved.has(report.own)) waiting(report);
    if (report.kind === "over") over(report.own);
    if (report.kind === "closed") readThroughServer(report.own);
    if (report.kind === "damaged") {
      notify("A part of the data could not be decoded; it is left out, not empty.", { error: true, key: "damaged" });
    }
  });
}
