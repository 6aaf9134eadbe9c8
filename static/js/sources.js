/**
 * Says when an image (or anything else the viewer reads) does not come, and finds another way.
 *
 * The guard of the chunk worker (guard.js) asks again for what did not come and reports here. An
 * image that this browser reads from its source is read through the server where only that works.
 */

/**
 * @typedef {{name: string, kind: "waiting" | "over" | "closed" | "damaged", host: string, reason: string, said: string}} Report
 *   `name`: of the image read from its source; empty for what the server itself sends
 */

const SHOWN_AFTER_MS = 1500;
const OTHER_WAY_AFTER_MS = 4000;
const ASK_AGAIN_MS = 15000;
const REMEMBERED_MS = 3600000;
const NOT_EMPTY = "What is dark has not been read; it is not empty.";

/** @param {Report} report @returns {string} */
function sentence({ name, host, reason, said }) {
  if (name !== "") return `${host}, where this image is kept, ${reason}. It is asked again. ${NOT_EMPTY}`;
  return said ? `${said} It is tried again. ${NOT_EMPTY}` : `The server ${reason}. It is asked again. ${NOT_EMPTY}`;
}

/**
 * Whether the server can read an image: its smallest level's first chunk.
 *
 * @param {string} prefix @param {string} name @returns {Promise<boolean>}
 */
async function canServerRead(prefix, name) {
  try {
    const base = `${prefix}/image/${name}`;
    const { scales } = await (await fetch(`${base}/info`)).json();
    const { key, size, chunk_sizes } = scales.at(-1);
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
  /** @type {Set<string>} images that are read through the server by now */
  const moved = new Set();

  /** @param {string} name */
  function readThroughServer(name) {
    if (moved.has(name)) return;
    moved.add(name);
    over(name);
    const ours = `${location.origin}${prefix}`;
    const direct = `${ours}/direct/${name}`;
    const through = (/** @type {any} */ value) => {
      // The viewer writes `zarr2://X` also as `X/|zarr2:`.
      const isDirect = typeof value === "string" && [`${direct}/`, `${direct}|`].some((one) => `${value}/`.includes(one));
      return isDirect ? `precomputed://${ours}/image/${name}` : value;
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

  /** @param {string} name @param {string} host */
  async function findOtherWay(name, host) {
    if (!(await canServerRead(prefix, name)) || !troubles.has(name)) return;
    localStorage.setItem("mitoglance-through-server", String(Date.now() + REMEMBERED_MS));
    readThroughServer(name);
    notify(`${host} cannot be read by this browser; the image now comes through the server.`);
  }

  /** @param {string} name */
  function over(name) {
    troubles.get(name)?.end.abort();
    troubles.delete(name);
  }

  /** @param {Report} report */
  function waiting(report) {
    const { name, host } = report;
    const trouble = troubles.get(name) ?? { since: Date.now(), asked: 0, end: new AbortController(), text: "" };
    troubles.set(name, trouble);
    const lasted = Date.now() - trouble.since;
    const text = sentence(report);
    if (lasted > SHOWN_AFTER_MS && text !== trouble.text) {
      trouble.text = text;
      const action = { label: "Read through the server", onClick: () => readThroughServer(name) };
      notify(text, { key: `source-${name}`, until: trouble.end.signal, action: name === "" ? null : action });
    }
    if (name !== "" && lasted > OTHER_WAY_AFTER_MS && Date.now() - trouble.asked > ASK_AGAIN_MS) {
      trouble.asked = Date.now();
      void findOtherWay(name, host);
    }
  }

  addEventListener("mitoglance:source", (event) => {
    /** @type {Report} */
    const report = /** @type {CustomEvent} */ (event).detail;
    if (report.kind === "waiting" && !moved.has(report.name)) waiting(report);
    if (report.kind === "over") over(report.name);
    if (report.kind === "closed") readThroughServer(report.name);
    if (report.kind === "damaged") {
      notify("A part of the data could not be decoded; it is left out, not empty.", { error: true, key: "damaged" });
    }
  });
}
