/**
 * Stands between the viewer's bundle and the browser; a classic script, loaded before the bundle.
 *
 * Gives the viewer its state messages by short polls instead of one held connection per tab, in
 * place of the window's `EventSource`:
 * browsers allow six connections to one server, and a server thread per open tab is dear. A poll
 * carries the generations this tab has, the answer carries what it lacks. When the server cannot be
 * reached the viewer is told nothing (it would cover the image with a warning and count seconds):
 * polls go on, ever more slowly, and the page hears of it by `mitoglance:connection`.
 *
 * The first poll is sent at once, while the viewer's own scripts are on their way. Its answer has what
 * the viewer will ask for next, step by step: the documents that describe the layers, which are given
 * to its `fetch`, and where chunks are, which the worker is told.
 *
 * And gives the chunk worker its guard (guard.js), in place of the window's `Worker`; what the guard
 * has to say the page hears by `mitoglance:source`, and the page tells it by `mitoglance:labels` that
 * labels have changed.
 */
// @ts-check
(() => {
  const VISIBLE_MS = 1000;
  const HIDDEN_MS = 10000;
  const SLOWEST_MS = 15000;
  /** What came with the first state is not given to whoever asks later: it may have changed. */
  const FRESH_MS = 20000;

  /** @typedef {{messages: {k: string, g: string}[], documents?: Record<string, object | null>, places?: Record<string, object>}} News */

  const realFetch = window.fetch.bind(window);
  /** @type {Map<string, object | null>} documents by address, for one who asks; null: there is none */
  const documents = new Map();

  /** Once it could not reach a source, this browser reads through the server for a while. @param {URL} url */
  function choosingTheWay(url) {
    url.searchParams.set("poll", "1");
    if (Number(localStorage.getItem("mitoglance-through-server")) > Date.now()) url.searchParams.set("direct", "no");
    return url;
  }

  /** @returns {Promise<News | null>} the first answer; null: ask as ever */
  async function pollAhead() {
    const [, token] = /\/v\/([^/]+)\/$/.exec(location.pathname) ?? [];
    // A page with a state in its address keeps that one.
    if (token === undefined || location.hash.length > 1) return null;
    const url = choosingTheWay(new URL(`../../events/${token}?gc=&gs=`, location.href));
    const answer = await realFetch(url, { cache: "no-store" }).catch(() => null);
    if (answer === null || !answer.ok) return null;
    /** @type {News} */
    const news = await answer.json();
    for (const [path, document] of Object.entries(news.documents ?? {})) {
      documents.set(new URL(`../../${path}`, location.href).href, document);
    }
    setTimeout(() => documents.clear(), FRESH_MS);
    return news;
  }

  /** @param {RequestInfo | URL} input @param {RequestInit} [init] @returns {Response | null} what came with the first state, once */
  function taken(input, init) {
    if (documents.size === 0 || input instanceof Request || (init?.method ?? "GET") !== "GET") return null;
    const url = new URL(input, location.href).href;
    const document = documents.get(url);
    if (document === undefined || new Headers(init?.headers).has("range")) return null;
    documents.delete(url);
    const status = document === null ? 404 : 200;
    const response = new Response(JSON.stringify(document), { status, headers: { "Content-Type": "application/json" } });
    // The viewer looks at it for redirections.
    return Object.defineProperty(response, "url", { value: url });
  }

  const first = pollAhead().catch(() => null);
  /** @type {typeof first | null} taken by the first poll */
  let ahead = first;

  class PollingEventSource extends EventTarget {
    static CONNECTING = 0;
    static OPEN = 1;
    static CLOSED = 2;

    /** @param {string | URL} url */
    constructor(url) {
      super();
      this.url = String(url);
      this.readyState = PollingEventSource.CONNECTING;
      this.withCredentials = false;
      /** @type {((event: Event) => void) | null} */
      this.onopen = null;
      /** @type {((event: MessageEvent<string>) => void) | null} */
      this.onmessage = null;
      /** @type {((event: Event) => void) | null} */
      this.onerror = null;
      this.failures = 0;
      this.polling = false;
      this.again = false;
      this.timer = 0;
      this.request = choosingTheWay(new URL(this.url, location.href));
      this.now = () => void this.poll();
      addEventListener("mitoglance:poll", this.now);
      document.addEventListener("visibilitychange", this.now);
      // The caller sets its handlers after construction.
      queueMicrotask(this.now);
    }

    close() {
      this.readyState = PollingEventSource.CLOSED;
      clearTimeout(this.timer);
      removeEventListener("mitoglance:poll", this.now);
      document.removeEventListener("visibilitychange", this.now);
    }

    async poll() {
      if (this.polling) {
        this.again = true;
        return;
      }
      this.polling = true;
      clearTimeout(this.timer);
      try {
        do {
          this.again = false;
          await this.pollOnce();
        } while (this.again && this.readyState !== PollingEventSource.CLOSED);
      } finally {
        this.polling = false;
      }
      if (this.readyState !== PollingEventSource.CLOSED) {
        this.timer = setTimeout(this.now, this.pause());
      }
    }

    pause() {
      const usual = document.hidden ? HIDDEN_MS : VISIBLE_MS;
      return Math.min(usual * 2 ** this.failures, Math.max(usual, SLOWEST_MS));
    }

    async pollOnce() {
      let status = 0;
      try {
        const known = await this.known();
        const answer = known ? null : await realFetch(this.request, { cache: "no-store" });
        status = answer?.status ?? 200;
        if (answer && !answer.ok) throw new Error(`the server answered ${status}`);
        const { messages } = known ?? (await answer?.json());
        this.opened();
        for (const message of messages) this.deliver(message);
      } catch {
        this.failures = Math.min(this.failures + 1, 10);
        this.tell({ online: false, failures: this.failures, status });
      }
    }

    /** @returns {ReturnType<typeof pollAhead>} the answer to the first poll of the page, once, if that is what is asked */
    async known() {
      const untaken = ahead;
      ahead = null;
      const { searchParams } = this.request;
      return searchParams.get("gc") === "" && searchParams.get("gs") === "" ? untaken : null;
    }

    opened() {
      if (this.failures > 0) this.tell({ online: true, failures: 0, status: 200 });
      this.failures = 0;
      if (this.readyState !== PollingEventSource.CONNECTING) return;
      this.readyState = PollingEventSource.OPEN;
      this.onopen?.(new Event("open"));
    }

    /** @param {{k: string, g: string}} message */
    deliver(message) {
      if (this.readyState === PollingEventSource.CLOSED) return;
      this.onmessage?.(new MessageEvent("message", { data: JSON.stringify(message) }));
      this.request.searchParams.set(`g${message.k}`, message.g);
    }

    /** @param {{online: boolean, failures: number, status: number}} detail */
    tell(detail) {
      dispatchEvent(new CustomEvent("mitoglance:connection", { detail }));
    }
  }

  class GuardedWorker extends Worker {
    /** @param {string | URL} url @param {WorkerOptions} [options] */
    constructor(url, options) {
      const [, folder, script] = /^(.*\/client\/)([^/?]+\.js)$/.exec(new URL(url, location.href).href) ?? [];
      super(folder ? `${folder}guard.js?${script}` : url, options);
      if (!folder) return;
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => dispatchEvent(new CustomEvent("mitoglance:source", { detail: data }));
      this.postMessage({ mitoglance: "page" }, [port2]);
      void first.then((news) => news?.places && this.postMessage({ mitoglance: "places", places: news.places }));
      addEventListener("mitoglance:labels", () => this.postMessage({ mitoglance: "labels" }));
    }
  }

  window.fetch = async (input, init) => taken(input, init) ?? realFetch(input, init);
  Object.defineProperty(window, "Worker", { value: GuardedWorker, configurable: true });
  Object.defineProperty(window, "EventSource", { value: PollingEventSource, configurable: true });
})();
