/** Where picked objects were seen: published labels under the edits are counted from there. */

/** @typedef {import("./types.js").Id} Id */

/**
 * Tell the server where each object is as soon as it is picked, so that edits know it by its id.
 *
 * @param {import("./api.js").Api} api
 * @param {import("./bridge.js").Bridge} bridge
 * @param {import("./types.js").Store} store
 */
export function followPlaces(api, bridge, store) {
  /** @type {Set<Id>} */
  let known = new Set(bridge.selection());
  /** @type {Promise<unknown>} */
  let told = Promise.resolve();

  bridge.onSelection(() => {
    if (!store.state.session.has_base) return;
    const picked = bridge.selection();
    const fresh = picked.filter((id) => !known.has(id));
    known = new Set(picked);
    if (fresh.length === 0) return;
    const { id, position } = bridge.pointer();
    if (id === null || !fresh.includes(id)) return;
    // What goes wrong is said by the edit, if there is one.
    told = Promise.all([told, api.locate(id, position).catch(() => {})]);
  });

  return {
    /** @returns {Promise<unknown>} when the server knows of all objects that were picked so far */
    told: () => told,
  };
}
