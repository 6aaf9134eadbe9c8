/**
 * Keeps the page at the newest version: asks for operations, shows merges at once, reads labels
 * again where voxels or objects changed. The same path serves one's own edits and those of others.
 */

import { labelsChanged } from "./bridge.js";

/**
 * @typedef {import("./types.js").Operation} Operation
 * @typedef {import("./types.js").Roi} Roi
 * @typedef {import("./types.js").Id} Id
 * @typedef {import("./types.js").News} News
 */

const VISIBLE_MS = 700;
const SLOWEST_MS = 10000;

/** @param {Id[]} ids @returns {Id} the object that a merge leaves: the smallest id */
export const rootOf = (ids) => ids.reduce((a, b) => (BigInt(b) < BigInt(a) ? b : a));

export class Live {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./bridge.js").Bridge} bridge
   * @param {import("./types.js").Store} store
   */
  constructor(api, bridge, store) {
    this.api = api;
    this.bridge = bridge;
    this.store = store;
    this.version = store.state.session.version;
    /** @type {Set<number>} operations drawn before their event came */
    this.drawn = new Set();
    /** @type {(Roi | null)[]} changed, not on screen then, not read again since */
    this.unread = [];
    this.failures = 0;
    /** @type {Promise<void> | null} */
    this.asking = null;
    /** @type {Promise<void>} the last reading of changed labels */
    this.reading = Promise.resolve();
    /** @type {Promise<void>} the last reading of the operations, which lets labels go first */
    this.history = Promise.resolve();
  }

  start() {
    const turn = async () => {
      if (!document.hidden) await this.catchUp().catch(() => {});
      setTimeout(turn, Math.min(VISIBLE_MS * 2 ** this.failures, SLOWEST_MS));
    };
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.catchUp().catch(() => {});
    });
    void this.loadHistory().catch(() => {});
    void turn();
  }

  get isPinned() {
    return this.store.state.session.pinned_version !== null;
  }

  /**
   * Bring the page to the newest version now.
   *
   * @param {News | null} [known] news that came with another answer
   * @returns {Promise<void>} when its labels are on screen
   */
  async sync(known = null) {
    await this.catchUp(known);
    await this.reading;
  }

  /**
   * Ask for news and draw what can be drawn at once; labels that changed begin to be read.
   *
   * @param {News | null} [known] news that came with another answer
   * @returns {Promise<void>} when `version` is the newest
   */
  async catchUp(known = null) {
    // One at a time, and a caller gets a turn that began after the call.
    while (this.asking !== null) await this.asking.catch(() => {});
    if (this.isPinned) return;
    const before = this.version;
    // The page may have come further while the other answer was on its way.
    const isNew = known !== null && known.version >= this.version;
    if (isNew) this.take(known);
    else {
      this.asking = this.ask().finally(() => {
        this.asking = null;
      });
      await this.asking;
    }
    this.reading = this.readIfOnScreen();
    if (this.version !== before) {
      this.history = this.reading.then(() => this.loadHistory()).catch(() => {});
    }
  }

  async ask() {
    /** @type {News} */
    let news;
    try {
      news = await this.api.events(this.version);
    } catch (error) {
      this.failures = Math.min(this.failures + 1, 5);
      if (this.failures > 1) this.store.set({ online: false });
      throw error;
    }
    this.failures = 0;
    if (!this.store.state.online) this.store.set({ online: true });
    this.take(news);
  }

  /** @param {News} news */
  take(news) {
    if (this.isPinned) return;
    for (const operation of news.operations) this.draw(operation);
    const last = news.operations.at(-1)?.operation_id ?? this.version;
    if (news.reset || last !== this.version) labelsChanged();
    this.version = news.reset ? news.version : last;
    if (news.reset) this.unread.push(null);
    if (!news.reset && news.operations.length === 0) return;
    for (const id of this.drawn) if (id <= this.version) this.drawn.delete(id);
  }

  async loadHistory() {
    const operations = await this.api.operations();
    const head = operations[0]?.operation_id ?? 0;
    this.store.set({ operations, head });
  }

  /**
   * Show an operation as far as it can be shown without new labels; its event is then skipped.
   *
   * @param {Operation} operation
   * @param {{ids: Id[], operation: number | null}} [ahead] the link that already shows it
   */
  draw(operation, ahead) {
    const { operation_id: id, merges, splits, undoes } = operation;
    if (ahead) ahead.operation = id;
    if (this.drawn.has(id) || id <= this.version) return;
    this.drawn.add(id);
    const { links } = this.bridge;
    const isUndone = undoes !== null && links.dropOperation(undoes);
    if (!isUndone) links.forget(splits.flatMap(({ root, into }) => [root, ...into]));
    if (!ahead) for (const ids of merges) links.add(ids, id);
    this.keepPicks(operation);
    if (operation.wrote_voxels || splits.length > 0) this.unread.push(operation.bbox);
  }

  /** @param {Operation} operation picks follow their objects into a merge, or go with them */
  keepPicks({ merges, removed_roots, added_roots }) {
    const gone = new Set(removed_roots.filter((id) => !added_roots.includes(id)));
    const picks = this.bridge.selection();
    if (!picks.some((id) => gone.has(id))) return;
    const merged = (/** @type {Id} */ id) => {
      const ids = merges.find((group) => group.includes(id));
      return ids ? [rootOf(ids)] : [];
    };
    this.bridge.select(picks.flatMap((id) => (gone.has(id) ? merged(id) : [id])));
  }

  /** Read labels again when something changed on screen; else when it comes on screen. */
  async readIfOnScreen() {
    const isOnScreen = this.unread.some((roi) => roi === null || this.bridge.isOnScreen(roi));
    if (!isOnScreen) return this.reading;
    const { version } = this;
    this.unread = [];
    await this.bridge.refreshLabels();
    this.bridge.links.baked(version);
  }

  /**
   * Show another version, or the newest (null), which is followed from then on.
   *
   * @param {number | null} version
   */
  async show(version) {
    const session = await this.api.showVersion(version);
    this.bridge.links.clear();
    this.unread = [];
    this.store.set({ session });
    dispatchEvent(new Event("mitoglance:poll"));
    if (version !== null) return;
    this.version = Math.max(this.version, session.version);
    await this.loadHistory();
  }
}
