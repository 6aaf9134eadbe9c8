/**
 * Which objects the viewer shows as one before the server's merged labels have arrived.
 *
 * A merge is drawn at once by linking its ids; the links may go when every chunk on screen has
 * been read again at a version that contains the merge. An undo takes its own links away only.
 */

/** @typedef {import("./types.js").Id} Id */

/**
 * @typedef {object} Linker
 * @property {(ids: Id[]) => void} link
 * @property {(id: Id) => void} unlink take apart the whole set that contains `id`
 */

export class Links {
  /** @param {() => Linker | null} linker the layer's own sets, null while there is no layer */
  constructor(linker) {
    this.linker = linker;
    /** @type {{ids: Id[], operation: number | null}[]} */
    this.groups = [];
  }

  /**
   * Show `ids` as one object from the next frame on.
   *
   * @param {Id[]} ids
   * @param {number | null} operation null until the server has numbered it
   * @returns {{ids: Id[], operation: number | null}} the entry, for `settle` or `drop`
   */
  add(ids, operation) {
    const group = { ids: [...ids], operation };
    this.groups.push(group);
    this.linker()?.link(ids);
    return group;
  }

  /**
   * Take one group back (its merge was refused, or undone); other groups stay linked.
   *
   * @param {{ids: Id[], operation: number | null}} group
   */
  drop(group) {
    this.groups = this.groups.filter((other) => other !== group);
    this.relink(group.ids);
  }

  /** @param {number} operation @returns {boolean} whether it had groups to take back */
  dropOperation(operation) {
    const groups = this.groups.filter((group) => group.operation === operation);
    for (const group of groups) this.drop(group);
    return groups.length > 0;
  }

  /**
   * Forget every group that touches one of `ids`: what they were is no longer known.
   *
   * @param {Iterable<Id>} ids
   */
  forget(ids) {
    const gone = new Set(ids);
    const touched = this.groups.filter((group) => group.ids.some((id) => gone.has(id)));
    this.groups = this.groups.filter((group) => !touched.includes(group));
    this.relink([...gone, ...touched.flatMap((group) => group.ids)]);
  }

  /**
   * Forget groups of operations up to `version`: the labels on screen contain them.
   *
   * @param {number} version
   */
  baked(version) {
    const done = this.groups.filter((g) => g.operation !== null && g.operation <= version);
    this.groups = this.groups.filter((group) => !done.includes(group));
    this.relink(done.flatMap((group) => group.ids));
  }

  clear() {
    const ids = this.groups.flatMap((group) => group.ids);
    this.groups = [];
    this.relink(ids);
  }

  /** Link everything again: the layer was replaced by a new one. */
  restore() {
    for (const group of this.groups) this.linker()?.link(group.ids);
  }

  /** @param {Id[]} ids */
  relink(ids) {
    const linker = this.linker();
    if (linker === null) return;
    for (const id of ids) linker.unlink(id);
    // Sets are taken apart whole, so what is still wanted is linked once more.
    for (const group of this.groups) linker.link(group.ids);
  }
}
