/**
 * The only file that touches the insides of the viewer (`window.viewer`, pinned wheel), with
 * those that it hands them to (drawing.js, links.js, refresh.js, rest.js, shading.js).
 *
 * Everything it relies on is declared at the end of types.d.ts and pinned by
 * tests/browser/test_bridge.py. Coordinates leave and enter as z, y, x voxels of level 0.
 */

import { drawOnlyLabels } from "./drawing.js";
import { Links } from "./links.js";
import { holdDrawing, readAgain } from "./refresh.js";
import { Rest } from "./rest.js";
import { shownRange, toggleControls } from "./shading.js";

/**
 * @typedef {import("./types.js").Id} Id
 * @typedef {import("./types.js").Zyx} Zyx
 * @typedef {import("./types.js").Roi} Roi
 * @typedef {import("./types.js").NgViewer} NgViewer
 * @typedef {import("./types.js").NgPanel} NgPanel
 * @typedef {import("./types.js").NgSegmentation} NgSegmentation
 * @typedef {import("./types.js").NgSliceView} NgSliceView
 */

const READY_TIMEOUT_MS = 60000;
const QUIET_MS = 250;

/** @param {number} ms @returns {Promise<void>} */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Chunks of labels that were empty may be so no longer: the guard of the chunk worker looks again. */
export const labelsChanged = () => dispatchEvent(new Event("mitoglance:labels"));

/** @returns {Promise<void>} after the next frame; a hidden page draws none and waits a moment */
export const nextFrame = () =>
  new Promise((resolve) => {
    requestAnimationFrame(() => resolve());
    setTimeout(resolve, 300);
  });

/**
 * Keep the viewer alive when a state comes in while the pointer is over it.
 *
 * Restoring a state makes new layers; a listener of an old one then asks for what the pointer is
 * over in a layer that is gone, and the new layers stay empty (release 2.41.2). So the pointer is
 * taken away first; it is back with its next move.
 *
 * @param {NgViewer} viewer
 */
function restoreWithoutPointer({ state, mouseState }) {
  if (Object.hasOwn(state, "restoreState")) return;
  const real = state.restoreState.bind(state);
  state.restoreState = (value) => {
    mouseState.setActive(false);
    real(value);
  };
}

export class Bridge {
  /** @param {NgViewer} viewer @param {string} labelLayer name of the label layer */
  constructor(viewer, labelLayer) {
    this.viewer = viewer;
    this.labelLayer = labelLayer;
    /** @type {NgSegmentation | null} */
    this.layer = null;
    /** Ends the moment in which nothing is drawn, see `refreshOnce`. */
    this.drawAgain = () => {};
    /** What can wait until everything on screen is loaded waits for this. */
    this.rest = new Rest(viewer);
    this.links = new Links(() => {
      // A merge is seen in the next frame, also while labels are being read.
      this.drawAgain();
      return this.linker();
    });
    /** @type {Set<() => void>} */
    this.selectionListeners = new Set();
    /** @type {Element | null} */
    this.hovered = null;
    /** @type {Promise<void> | null} */
    this.refreshing = null;
    this.refreshAgain = false;
    viewer.layerManager.layersChanged.add(() => this.bindLayer());
    viewer.element.addEventListener("pointermove", (event) => this.noteHover(event), true);
    restoreWithoutPointer(viewer);
    drawOnlyLabels(viewer);
    this.bindLayer();
  }

  // ---- layer, selection, colours -------------------------------------------------------------

  /** Follow the label layer: the viewer makes a new one whenever it restores a state. */
  bindLayer() {
    const managed = this.viewer.layerManager.getLayerByName(this.labelLayer);
    const layer = /** @type {NgSegmentation | null} */ (managed?.layer ?? null);
    if (layer === this.layer || (layer !== null && !("displayState" in layer))) return;
    this.layer = layer;
    if (layer === null) return;
    const { visibleSegments } = layer.displayState.segmentationGroupState.value;
    const { segmentColorHash } = layer.displayState.segmentationColorGroupState.value;
    const tell = () => this.selectionListeners.forEach((listener) => listener());
    visibleSegments.changed.add(tell);
    segmentColorHash.changed.add(tell);
    this.links.restore();
    tell();
  }

  group() {
    return this.layer?.displayState.segmentationGroupState.value ?? null;
  }

  linker() {
    const equivalences = this.group()?.segmentEquivalences;
    if (!equivalences) return null;
    return {
      /** @param {Id[]} ids */
      link(ids) {
        for (const id of ids.slice(1)) equivalences.link(BigInt(ids[0] ?? id), BigInt(id));
      },
      /** @param {Id} id */
      unlink: (id) => equivalences.deleteSet(BigInt(id)),
    };
  }

  /** @returns {Id[]} picked root ids, smallest first */
  selection() {
    const ids = [...(this.group()?.visibleSegments ?? [])];
    return ids.sort((a, b) => (a < b ? -1 : 1)).map(String);
  }

  /** @param {Id[]} ids */
  select(ids) {
    const group = this.group();
    if (group === null) return;
    const wanted = new Set(ids);
    for (const id of [...group.selectedSegments]) {
      if (!wanted.has(String(id))) group.selectedSegments.delete(id);
    }
    for (const id of wanted) group.visibleSegments.add(BigInt(id));
  }

  /** @param {() => void} listener called when picked objects or their colours change */
  onSelection(listener) {
    this.selectionListeners.add(listener);
  }

  /** @param {Id} id @returns {string} the object's colour in the viewer, for CSS */
  colour(id) {
    const state = this.layer?.displayState.segmentationColorGroupState.value;
    return state ? state.segmentColorHash.computeCssColor(BigInt(id)) : "gray";
  }

  /** @param {string} name of an image layer @returns what `shownRange` of shading.js does */
  shownRange(name) {
    return shownRange(this.viewer, name);
  }

  /** @param {string} name of a layer whose contrast is set beside the view, or no longer */
  toggleControls(name) {
    toggleControls(this.viewer, name);
  }

  // ---- where the mouse and the panels are ----------------------------------------------------

  /**
   * The voxel and object under the mouse; those at the centre when the mouse is not over data.
   *
   * @returns {{position: Zyx, id: Id | null, isMouse: boolean}}
   */
  pointer() {
    const { mouseState, position } = this.viewer;
    const isMouse = mouseState.updateUnconditionally();
    const global = Float32Array.from(isMouse ? mouseState.position : position.value);
    const value = this.layer?.getValueAt(global, { pickedRenderLayer: null });
    // A linked id comes as a pair: its own value, and that of the object it belongs to.
    const id = typeof value === "object" && value !== null ? value.value || value.key : value;
    // The plane at 60 answers 59.99999: a voxel too low once it is cut to an integer.
    const [z, y, x] = this.zyx(global).map((v) => Math.round(v * 1000) / 1000);
    return { position: [z ?? 0, y ?? 0, x ?? 0], id: id ? String(id) : null, isMouse };
  }

  /** @param {ArrayLike<number>} global @returns {Zyx} */
  zyx(global) {
    const { names } = this.viewer.coordinateSpace.value;
    const at = (/** @type {string} */ name) => global[names.indexOf(name)] ?? 0;
    return [at("z"), at("y"), at("x")];
  }

  /** @param {Zyx} voxel comes to the middle of the view, (z, y, x) */
  lookAt(voxel) {
    const { position, coordinateSpace } = this.viewer;
    const { names } = coordinateSpace.value;
    const place = Float32Array.from(position.value);
    for (const [axis, name] of ["z", "y", "x"].entries()) {
      // The middle of it: voxels reach from their number to the next one.
      place[names.indexOf(name)] = (voxel[axis] ?? 0) + 0.5;
    }
    position.value = place;
  }

  /** @param {PointerEvent} event */
  noteHover(event) {
    for (const { element, sliceView } of this.viewer.display.panels) {
      if (sliceView && element.contains(/** @type {Node} */ (event.target))) this.hovered = element;
    }
  }

  /** @returns {(NgPanel & {sliceView: NgSliceView})[]} cross-sections that have a view by now */
  slicePanels() {
    const panels = [...this.viewer.display.panels].filter(({ sliceView }) => {
      const dimensions = sliceView?.projectionParameters.value.displayDimensionRenderInfo;
      return (dimensions?.displayDimensionIndices[0] ?? -1) >= 0;
    });
    return /** @type {any} */ (panels);
  }

  /** @returns {import("./types.js").View} what every cross-section shows; active: last hovered */
  view() {
    const found = this.slicePanels();
    const panels = found.map(({ sliceView }) => this.project(sliceView));
    const areas = panels.map(({ width, height }) => width * height);
    // Panels of a grid differ by a pixel; the first of those is the one people take for the main.
    const largest = areas.findIndex((area) => area >= 0.95 * Math.max(...areas));
    const hovered = found.findIndex(({ element }) => element === this.hovered);
    return { panels, active: Math.max(0, hovered >= 0 ? hovered : largest) };
  }

  /** @param {NgSliceView} sliceView @returns {import("./types.js").Panel} */
  project(sliceView) {
    const p = sliceView.projectionParameters.value;
    const { displayDimensionIndices } = p.displayDimensionRenderInfo;
    /** @param {number} column @returns {Zyx} */
    const column = (column) => {
      const global = this.viewer.coordinateSpace.value.names.map(() => 0);
      for (let i = 0; i < 3; ++i) {
        const dimension = displayDimensionIndices[i] ?? -1;
        if (dimension >= 0) global[dimension] = p.invViewMatrix[4 * column + i] ?? 0;
      }
      return this.zyx(global);
    };
    const [right, down, centre] = [column(0), column(1), column(3)];
    return { centre, right, down, width: p.logicalWidth, height: p.logicalHeight };
  }

  /**
   * Whether any cross-section cuts the box (by the panels' own boxes, so never a false no).
   *
   * @param {Roi} roi
   */
  isOnScreen(roi) {
    return this.view().panels.some((panel) =>
      [0, 1, 2].every((axis) => {
        const at = (/** @type {Zyx} */ v) => v[axis] ?? 0;
        const right = Math.abs(at(panel.right)) * panel.width;
        const half = (right + Math.abs(at(panel.down)) * panel.height) / 2;
        const begin = at(roi.offset);
        return at(panel.centre) + half >= begin && at(panel.centre) - half <= begin + at(roi.shape);
      }),
    );
  }

  // ---- state, layers, waiting ----------------------------------------------------------------

  /** @returns {import("./types.js").ViewState} */
  viewState() {
    const text = JSON.stringify(this.viewer.state.toJSON(), (_key, value) =>
      typeof value === "bigint" ? String(value) : value,
    );
    return JSON.parse(text);
  }

  /** @param {import("./types.js").ViewState} state */
  restore(state) {
    this.viewer.state.restoreState(state);
  }

  /** @param {() => void} listener called on every move, zoom, rotation or layout change */
  onView(listener) {
    this.viewer.state.changed.add(listener);
    addEventListener("resize", listener);
    this.viewer.element.addEventListener("pointerenter", listener, true);
  }

  /** @param {{name: string, [key: string]: unknown}} layer a layer of the viewer's state JSON */
  setLayer(layer) {
    this.removeLayer(layer.name);
    const { layerManager, mouseState, layerSpecification } = this.viewer;
    const { active } = mouseState;
    // Restoring replaces all layers; without its clearing it adds one and leaves the others alone.
    layerManager.clear = () => {};
    // With a mouse over the data the other layers would ask the half-made one what is under it.
    mouseState.active = false;
    try {
      layerSpecification.restoreState([layer]);
    } finally {
      Reflect.deleteProperty(layerManager, "clear");
      mouseState.active = active;
    }
  }

  /** @param {string} name @returns {{[key: string]: import("./types.js").Json}[]} what is drawn in a layer of the page's own */
  annotations(name) {
    const layers = /** @type {{name?: string, annotations?: unknown}[]} */ (this.viewState()["layers"] ?? []);
    const found = layers.find((layer) => layer.name === name)?.annotations;
    return Array.isArray(found) ? found : [];
  }

  /** @param {string} name @returns {{name: string, source?: unknown} | null} the layer's state JSON */
  layerState(name) {
    const layers = /** @type {{name: string}[]} */ (this.viewState()["layers"] ?? []);
    return layers.find((layer) => layer.name === name) ?? null;
  }

  /** @param {string} name */
  removeLayer(name) {
    const { layerManager } = this.viewer;
    const managed = layerManager.getLayerByName(name);
    if (managed) layerManager.removeManagedLayer(managed);
  }

  focus() {
    this.viewer.element.focus({ preventScroll: true });
  }

  // ---- fresh labels --------------------------------------------------------------------------

  /**
   * Read the labels again; what is on screen stays drawn until its successor is.
   *
   * Calls during a refresh make one more refresh after it, and resolve with that one.
   *
   * @returns {Promise<void>} when the new labels are on screen
   */
  refreshLabels() {
    if (this.refreshing !== null) {
      this.refreshAgain = true;
      return this.refreshing;
    }
    this.refreshing = this.refreshUntilQuiet().finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  async refreshUntilQuiet() {
    do {
      this.refreshAgain = false;
      await this.refreshOnce();
    } while (this.refreshAgain);
  }

  async refreshOnce() {
    const end = Date.now() + READY_TIMEOUT_MS;
    labelsChanged();
    const views = this.slicePanels().map(({ sliceView }) => sliceView);
    this.drawAgain = holdDrawing(this.viewer, QUIET_MS);
    const release = await readAgain(this.labelSources(), views, () => Date.now() >= end);
    this.drawAgain();
    await nextFrame();
    release();
  }

  /** @returns {import("./types.js").NgChunkSource[]} every scale of the label layer, finest first */
  labelSources() {
    const urls = this.labelUrls();
    const all = /** @type {Iterable<import("./types.js").NgChunkSource>} */ (
      this.viewer.chunkManager.memoize.map.values()
    );
    const size = (/** @type {import("./types.js").NgChunkSource} */ source) =>
      [...Array.from(source.spec?.upperVoxelBound ?? [])].reduce((a, b) => a * b, 1);
    return [...all]
      .filter((source) => source?.spec && urls.some((url) => source.parameters?.url?.startsWith(url)))
      .sort((a, b) => size(b) - size(a));
  }

  /** @returns {string[]} URLs the label layer reads from, without the format's name in front */
  labelUrls() {
    return [this.layerState(this.labelLayer)?.source ?? []]
      .flat()
      .map((entry) => (typeof entry === "string" ? entry : String(Object(entry).url ?? "")))
      .filter((url) => url !== "")
      .map((url) => url.replace(/^[a-z0-9]+:\/\/(?=[a-z]+:\/\/)/, "").replace(/\|.*$/, ""));
  }
}

/**
 * Wait for the viewer (its scripts run before the page's modules, but may still be loading).
 *
 * @param {string} labelLayer
 * @returns {Promise<Bridge>}
 */
export async function connectBridge(labelLayer) {
  while (!window.viewer) await pause(30);
  return new Bridge(window.viewer, labelLayer);
}
