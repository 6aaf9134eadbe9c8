/**
 * Watches over what the viewer's chunk worker fetches, so that nothing unread is shown as black.
 *
 * The viewer takes a broken line, 403 and 404 for "nothing there". Loaded before the worker's own
 * script (see shim.js), this file takes the place of `fetch`: what cannot be read is waited for and
 * asked for again until it has come or nobody wants it any more, and the page is told. Chunks of what
 * pages read themselves (`/direct/` and the server's own address of it) are asked of their source.
 */
// @ts-check
(() => {
  /** A place from which nothing has come for so long, though it was asked, does not answer. */
  const STALLED_MS = 30000;
  const LOOK_EVERY_MS = 5000;
  const FIRST_PAUSE_MS = 500;
  const LONGEST_PAUSE_MS = 5000;
  const LOOK_AGAIN_MS = 60000;
  const LABEL_CHUNK = /^(labels\/[^/?]+\/[^/?]+)\/(\d+)\/(\d+)-\d+_(\d+)-\d+_(\d+)-\d+$/;
  /** A chunk that pages read themselves: the server's own address of the whole, the level, the key. */
  const DIRECT_CHUNK = /^direct\/(image\/[^/?]+|beside\/[^/?]+\/[^/?]+)\/s?(\d+)\/([^?]+)/;
  const OUR_CHUNK = /^(image|labels|beside)\//;
  /** The sides of a chunk of labels, x, y, z (LABEL_CHUNK in app/precomputed.py). */
  const LABEL_SIDES = [128, 128, 64];
  /** Failures that may pass. The viewer waits after some; 401 and 403, of a proxy that wants a login, it takes for "nothing there". */
  const PASSING = new Set([401, 403, 429, 500, 502, 503, 504]);

  /**
   * @typedef {object} Level
   * @property {string} prefix
   * @property {string} suffix
   * @property {boolean} is_quoted
   * @property {string} mark
   * @property {[number, number, number]} offset
   * @typedef {{levels: Level[] | null, missing?: number, reason?: string}} Where
   * @typedef {{waiting: number, host: string}} Source
   */

  const real = self.fetch.bind(self);
  const root = location.href.replace(/\/client\/[^/]*$/, "/");
  /** @type {MessagePort | null} */
  let page = null;
  /** @type {Map<string, Promise<Where>>} */
  const places = new Map();
  /** @type {Map<string, {until: number, isThere: Promise<boolean>}>} levels that were looked for */
  const looked = new Map();
  /** @type {Map<string, Promise<Set<string>[] | null>>} which chunks may hold labels, by address */
  const occupied = new Map();
  /** @type {Map<string, Source>} */
  const sources = new Map();
  /** @type {Map<string, number>} when something came last, by origin */
  const heard = new Map();

  // Before the client listens: its own messages are of another kind.
  self.addEventListener("message", (event) => {
    const kind = event.data?.mitoglance;
    if (kind === "page") page = event.ports[0] ?? null;
    // In line with the viewer's own messages: what it asks for after this one has the new labels.
    else if (kind === "labels") occupied.clear();
    else if (kind === "places") for (const [own, where] of Object.entries(event.data.places)) knowPlace(own, where);
    else return;
    event.stopImmediatePropagation();
  });

  /** @param {object} message */
  const tell = (message) => page?.postMessage(message);

  class TroubleError extends Error {}

  /** @param {AbortSignal | null | undefined} signal */
  const isOver = (signal) => signal?.aborted ?? false;

  /** @param {number} ms @param {AbortSignal | null | undefined} signal @returns {Promise<void>} */
  const pause = (ms, signal) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(done, ms);
      function done() {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        if (isOver(signal)) reject(signal?.reason);
        else resolve();
      }
      signal?.addEventListener("abort", done);
    });

  /**
   * Fetch something whole. Every failure that may pass is a TroubleError.
   *
   * The browser sends a few requests at a time and lets the others wait, so that the time of one
   * says nothing; but when nothing at all comes any more, it is not waited for.
   *
   * @param {string} url @param {RequestInit} init
   * @returns {Promise<{status: number, headers: Headers, body: ArrayBuffer | null}>}
   */
  async function whole(url, init) {
    if (isOver(init.signal)) throw init.signal?.reason;
    const limit = new AbortController();
    const stop = () => limit.abort(init.signal?.reason);
    init.signal?.addEventListener("abort", stop);
    const { origin } = new URL(url);
    const begun = Date.now();
    const timer = setInterval(() => {
      if (Date.now() - Math.max(begun, heard.get(origin) ?? 0) > STALLED_MS) limit.abort();
    }, LOOK_EVERY_MS);
    try {
      const answer = await real(url, { ...init, signal: limit.signal });
      heard.set(origin, Date.now());
      // Read here, so that a line that breaks in the middle is noticed here.
      const body = init.method === "HEAD" ? null : await answer.arrayBuffer();
      heard.set(origin, Date.now());
      return { status: answer.status, headers: answer.headers, body };
    } catch (error) {
      if (isOver(init.signal)) throw init.signal?.reason;
      throw new TroubleError(limit.signal.aborted ? "does not answer" : "cannot be reached");
    } finally {
      clearInterval(timer);
      init.signal?.removeEventListener("abort", stop);
    }
  }

  /** @param {string} url @param {Awaited<ReturnType<typeof whole>>} answer */
  function respond(url, { status, headers, body }) {
    const isBare = status === 204 || status === 304;
    const response = new Response(isBare ? null : body, { status, headers });
    // The viewer looks at it for redirections.
    return Object.defineProperty(response, "url", { value: url });
  }

  /** @param {string} own @param {Where} where as the page was told with its first state */
  function knowPlace(own, where) {
    if (!places.has(own)) places.set(own, Promise.resolve(where));
  }

  /** @param {string} own @returns {Promise<Where>} */
  function placeOf(own) {
    let known = places.get(own);
    if (known === undefined) {
      known = whole(`${root}direct/${own}/where`, {}).then(({ status, body }) => {
        if (status !== 200) throw new TroubleError(`answers ${status}`);
        return JSON.parse(new TextDecoder().decode(body ?? undefined));
      });
      places.set(own, known);
      known.catch(() => places.delete(own));
    }
    return known;
  }

  /**
   * Whether the level is still there, so that a key that is not may be believed.
   *
   * @param {string} mark
   */
  function isThere(mark) {
    const known = looked.get(mark);
    if (known !== undefined && Date.now() < known.until) return known.isThere;
    const asked = whole(mark, { cache: "no-store", credentials: "omit" }).then(({ status }) => status === 200, () => false);
    looked.set(mark, { until: Date.now() + LOOK_AGAIN_MS, isThere: asked });
    void asked.then((found) => found || looked.delete(mark));
    return asked;
  }

  /** @param {Level} level @param {string} key @returns {string} */
  function addressOf({ prefix, suffix, is_quoted, offset }, key) {
    const named = /^(\d+)-(\d+)_(\d+)-(\d+)_(\d+)-(\d+)$/.exec(key);
    if (named !== null) {
      const ends = named.slice(1).map((end, i) => Number(end) + (offset[i >> 1] ?? 0));
      key = `${ends[0]}-${ends[1]}_${ends[2]}-${ends[3]}_${ends[4]}-${ends[5]}`;
    }
    return prefix + (is_quoted ? encodeURIComponent(key) : key) + suffix;
  }

  /**
   * Ask the source for a chunk once.
   *
   * @param {Source} source @param {string} own @param {number} number @param {string} key @param {RequestInit} init
   */
  async function askSource(source, own, number, key, init) {
    const where = await placeOf(own);
    const level = where.levels?.[number];
    if (level === undefined) {
      places.delete(own);
      tell({ own, kind: "closed", reason: where.reason ?? "" });
      throw new TroubleError("is read through the server");
    }
    source.host = new URL(level.prefix).host;
    const url = addressOf(level, key);
    const answer = await whole(url, { ...init, credentials: "omit" });
    if (answer.status === 200 || answer.status === 206) return respond(url, answer);
    const isMissing = answer.status === 404 || answer.status === where.missing;
    if (isMissing && (await isThere(level.mark))) return respond(url, { ...answer, status: 404 });
    throw new TroubleError(`answers ${answer.status}`);
  }

  /**
   * Ask our own server once.
   *
   * @param {string} url @param {RequestInit} init
   */
  async function askServer(url, init) {
    const answer = await whole(url, init);
    // Where the server read that there is no label, the viewer needs to keep and draw none.
    if (answer.status === 200 && answer.headers.has("Mitoglance-Empty")) return respond(url, { ...answer, status: 404 });
    if (!PASSING.has(answer.status)) return respond(url, answer);
    const said = await new Response(answer.body).json().catch(() => null);
    throw new TroubleError(`answers ${answer.status}`, { cause: said?.error?.message });
  }

  /**
   * Whether the server said that a chunk of labels holds none; where it is not sure, it is asked.
   *
   * @param {string} url
   */
  async function isEmpty(url) {
    const [, stem, level, ...corner] = LABEL_CHUNK.exec(url.slice(root.length)) ?? [];
    if (stem === undefined) return false;
    let known = occupied.get(stem);
    if (known === undefined) {
      known = whole(`${root}${stem}/occupied`, {}).then(({ status, body }) => {
        if (status !== 200) throw new TroubleError(`answers ${status}`);
        /** @type {{levels: string[][] | null}} */
        const { levels } = JSON.parse(new TextDecoder().decode(body ?? undefined));
        return levels && levels.map((places) => new Set(places));
      });
      occupied.set(stem, known);
      known.catch(() => occupied.get(stem) === known && occupied.delete(stem));
    }
    const levels = await known.catch(() => null);
    const [x, y, z] = corner.map((begin, axis) => Number(begin) / (LABEL_SIDES[axis] ?? 1));
    return levels?.[Number(level)]?.has(`${z}_${y}_${x}`) === false;
  }

  /**
   * Ask until there is an answer, or nobody wants it any more.
   *
   * @param {string} own address of what its source sends, for the page; empty where that is the server
   * @param {(source: Source) => Promise<Response>} ask @param {AbortSignal | null | undefined} signal
   */
  async function patiently(own, ask, signal) {
    const source = sources.get(own) ?? { waiting: 0, host: location.host };
    sources.set(own, source);
    let isWaiting = false;
    try {
      for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(wait * 2, LONGEST_PAUSE_MS)) {
        try {
          return await ask(source);
        } catch (error) {
          if (!(error instanceof TroubleError)) throw error;
          if (!isWaiting) source.waiting += 1;
          isWaiting = true;
          tell({ own, kind: "waiting", host: source.host, reason: error.message, said: error.cause ?? "" });
          await pause(wait * (1 + Math.random()), signal);
        }
      }
    } finally {
      if (isWaiting) source.waiting -= 1;
      if (isWaiting && source.waiting === 0) tell({ own, kind: "over" });
    }
  }

  /** @param {RequestInfo | URL} input @param {RequestInit} [init] @returns {Promise<Response>} */
  self.fetch = async (input, init = {}) => {
    const url = String(input instanceof Request ? input.url : input);
    const path = url.startsWith(root) ? url.slice(root.length) : "";
    const [, own, number, key] = DIRECT_CHUNK.exec(path) ?? [];
    const { signal } = init;
    if (own !== undefined && key !== undefined) {
      return patiently(own, (source) => askSource(source, own, Number(number), key, init), signal);
    }
    if (path.startsWith("labels/") && (await isEmpty(url))) {
      if (isOver(signal)) throw signal?.reason;
      return respond(url, { status: 404, headers: new Headers(), body: null });
    }
    if (OUR_CHUNK.test(path)) {
      return patiently("", () => askServer(url, init), signal);
    }
    return real(input, init);
  };

  // A chunk that cannot be decoded is dropped by the viewer with no more than this line.
  const log = console.log.bind(console);
  console.log = (...words) => {
    log(...words);
    if (String(words[0]).startsWith("Error retrieving chunk")) tell({ own: "", kind: "damaged" });
  };

  const script = location.search.slice(1);
  if (!/^[\w.-]+\.js$/.test(script)) throw new Error(`No script of the viewer: ${script}`);
  /** @type {any} */ (self).importScripts(new URL(script, location.href).href);
})();
