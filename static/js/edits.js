/** Edits that pages ask for: one after another, drawn as soon as they are answered. */

/** @typedef {import("./types.js").EditAnswer} EditAnswer */

/**
 * @param {import("./types.js").Store} store
 * @param {import("./live.js").Live} live
 * @param {import("./types.js").Notify} notify
 * @param {{told: () => Promise<unknown>}} places what edits wait for
 */
export function makeEdits(store, live, notify, places) {
  /** @type {Promise<void>} edits happen one after another, in the order they were asked for */
  let queue = Promise.resolve();

  return {
    /** @param {() => Promise<unknown>} work an edit; what goes wrong is said in a message */
    editing(work) {
      if (store.state.session.read_only) {
        notify("This version is read-only. Choose “Edit from here” first.", { key: "read-only" });
        return queue;
      }
      queue = queue.then(places.told).then(work).then(() => {}, (error) => {
        notify(error instanceof Error ? error.message : String(error), { error: true });
        void live.catchUp().catch(() => {});
      });
      return queue;
    },

    /** @param {Promise<EditAnswer>} answer */
    async drawn(answer) {
      live.draw((await answer).operation);
      await live.catchUp();
    },
  };
}
