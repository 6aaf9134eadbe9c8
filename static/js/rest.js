/**
 * Tells when the viewer is at rest: everything on screen is loaded and drawn.
 *
 * What can wait until then does, so that a view comes as fast as without us. Part of the bridge:
 * called by it alone.
 */

/** @typedef {import("./types.js").NgViewer} NgViewer */

const LOOK_MS = 100;
const STATE_LOOK_MS = 15;
/** Without a layer by then, the view that was sent has none. */
const STATE_WITHIN_MS = 3000;
const LONGEST_MS = 60000;

/** @param {number} ms @returns {Promise<void>} */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Rest {
  /** @param {NgViewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    this.begin = Date.now();
    /** @type {Promise<void> | null} */
    this.waiting = null;
  }

  /** @param {number} ms @returns {Promise<void>} when the viewer knows what to ask a source for, or when so long has passed */
  async begun(ms) {
    const end = Date.now() + ms;
    while (!this.hasBegun() && Date.now() < end) await pause(STATE_LOOK_MS);
  }

  hasBegun() {
    const { managedLayers } = this.viewer.layerManager;
    return managedLayers.length > 0 && managedLayers.every(({ layer }) => (Object(layer).renderLayers?.length ?? 0) > 0);
  }

  /** @returns {Promise<void>} when everything on screen is loaded; all who wait look together */
  come() {
    this.waiting ??= this.look().finally(() => {
      this.waiting = null;
    });
    return this.waiting;
  }

  /** @param {number} ms @returns {Promise<void>} the same, or when so long has passed */
  within(ms) {
    return Promise.race([this.come(), pause(ms)]);
  }

  /** Not more often: with each look the viewer takes in at once all that has come. */
  async look() {
    const end = Date.now() + LONGEST_MS;
    while (!this.isAtRest() && Date.now() < end) await pause(LOOK_MS);
  }

  isAtRest() {
    const hasState = this.viewer.layerManager.managedLayers.length > 0 || Date.now() > this.begin + STATE_WITHIN_MS;
    return hasState && this.viewer.isReady();
  }
}
