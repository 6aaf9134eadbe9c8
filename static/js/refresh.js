/**
 * Keeps a chunk source drawn while it is read again.
 *
 * Invalidating a source makes the viewer drop every chunk at once: the layer would vanish until
 * the new ones have come. While a source is held, dropped chunks stay in its table (and on the
 * graphics card) until a chunk with the same key replaces them. Part of the bridge: called by it
 * alone.
 */

/**
 * @typedef {import("./types.js").NgChunkSource} NgChunkSource
 * @typedef {import("./types.js").NgChunk} NgChunk
 * @typedef {import("./types.js").NgSliceView} NgSliceView
 */

const ON_GRAPHICS_CARD = 0;
const LOOK_MS = 8;

/** @param {number} ms @returns {Promise<void>} */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Hold {
  /** @param {NgChunkSource} source */
  constructor(source) {
    this.source = source;
    this.isAsked = false;
    /** @type {Map<string, NgChunk>} */
    this.stale = new Map(source.chunks);
    const real = Object.getPrototypeOf(source);
    source.deleteChunk = (key) => {
      if (!this.stale.has(key)) real.deleteChunk.call(source, key);
    };
    source.addChunk = (key, chunk) => {
      if (this.stale.delete(key)) real.deleteChunk.call(source, key);
      real.addChunk.call(source, key, chunk);
    };
  }

  /** Begin to read it again. */
  ask() {
    this.isAsked = true;
    this.source.invalidateCache();
  }

  /**
   * Whether a cross-section draws this source before all others of its layer: the finest that it
   * wants, of which coarser ones only take the place until it is there.
   *
   * @param {NgSliceView[]} views
   */
  leads(views) {
    return views.some((view) =>
      [...view.visibleLayers.values()].some(({ visibleSources }) => visibleSources[0]?.source === this.source),
    );
  }

  /**
   * Whether every chunk of this source on screen is a new one, on the graphics card.
   *
   * @param {NgSliceView[]} views
   */
  isFresh(views) {
    const { chunks } = this.source;
    let fresh = true;
    for (const view of views) {
      for (const { visibleSources } of view.visibleLayers.values()) {
        for (const visible of visibleSources.filter(({ source }) => source === this.source)) {
          view.forEachVisibleChunk(visible, visible.chunkLayout, (key) => {
            const isDrawn = chunks.get(key)?.state === ON_GRAPHICS_CARD;
            if (!isDrawn || this.stale.has(key)) fresh = false;
          });
        }
      }
    }
    return fresh;
  }

  /** End the hold: old chunks that are not on screen go. */
  release() {
    Reflect.deleteProperty(this.source, "deleteChunk");
    Reflect.deleteProperty(this.source, "addChunk");
    for (const key of this.stale.keys()) {
      if (this.source.chunks.has(key)) this.source.deleteChunk(key);
    }
    this.stale.clear();
  }
}

/**
 * Draw nothing for a moment: between the first new chunk and the last one, frames would show a mix,
 * and each takes time from reading the rest. Ends by itself, and as soon as somebody moves the view.
 *
 * @param {import("./types.js").NgViewer} viewer
 * @param {number} longest ms
 * @returns {() => void} ends it
 */
export function holdDrawing({ display, navigationState }, longest) {
  if (Object.hasOwn(display, "draw")) return () => {};
  const end = () => {
    if (!Object.hasOwn(display, "draw")) return;
    Reflect.deleteProperty(display, "draw");
    clearTimeout(timer);
    stopWatching();
    display.scheduleRedraw();
  };
  const timer = setTimeout(end, longest);
  const stopWatching = navigationState.changed.add(end);
  display.draw = () => {};
  return end;
}

/**
 * Read sources again, what each cross-section shows first: the viewer by itself asks for coarser
 * scales before finer ones, and they would be waited for.
 *
 * @param {NgChunkSource[]} sources
 * @param {NgSliceView[]} views
 * @param {() => boolean} isOver whether to wait no longer
 * @returns {Promise<() => void>} when all on screen is new; ends it: the rest is read when wanted
 */
export async function readAgain(sources, views, isOver) {
  const held = sources.map((source) => new Hold(source));
  // Asked in each round, since views may be zoomed meanwhile.
  for (;;) {
    const shown = held.filter((hold) => hold.leads(views));
    for (const hold of shown.filter(({ isAsked }) => !isAsked)) hold.ask();
    if (isOver() || shown.every((hold) => hold.isFresh(views))) break;
    await pause(LOOK_MS);
  }
  return () => {
    for (const hold of held) {
      hold.release();
      if (!hold.isAsked) hold.ask();
    }
  };
}
