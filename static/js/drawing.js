/**
 * Spares the viewer the drawing of label layers where there is nothing to see in them.
 *
 * A section of labels takes three times the work of a section of the image, and all of it also where
 * there is no label: noticed wherever drawing is slow, above all without a graphics card. Part of
 * the bridge: called by it alone.
 */

/**
 * @typedef {import("./types.js").NgRenderLayer} NgRenderLayer
 * @typedef {import("./types.js").NgSliceView} NgSliceView
 * @typedef {import("./types.js").NgViewer} NgViewer
 */

const ON_GRAPHICS_CARD = 0;
const LOOK_MS = 1000;
/** Quiet looks, one after the other, before a layer is drawn for nothing once. */
const CALM_LOOKS = 2;

/**
 * Whether a section has a chunk of the layer, of any scale, that is not known to be empty: those
 * that were read and hold nothing have no data (guard.js).
 *
 * @param {NgRenderLayer} layer @param {NgSliceView} view
 */
function hasLabels(layer, view) {
  let found = false;
  for (const visible of view.visibleLayers.get(layer)?.visibleSources ?? []) {
    const { chunks } = visible.source;
    view.forEachVisibleChunk(visible, visible.chunkLayout, (key) => {
      const chunk = chunks.get(key);
      if (chunk?.state === ON_GRAPHICS_CARD && chunk.data !== null) found = true;
    });
  }
  return found;
}

/**
 * Draw label layers only where there are labels, from now on.
 *
 * When nothing has happened for a moment they are drawn once all the same: the graphics card then
 * has their program, and the first labels do not wait until it is made.
 *
 * @param {NgViewer} viewer
 */
export function drawOnlyLabels(viewer) {
  const { layerManager, display } = viewer;
  /** @type {WeakSet<NgRenderLayer>} */
  const known = new WeakSet();
  let isPreparing = false;
  let isPrepared = false;

  /** @param {NgRenderLayer} layer */
  const spare = (layer) => {
    if (known.has(layer) || !layer.visibleSourcesList) return;
    known.add(layer);
    const draw = layer.draw.bind(layer);
    layer.draw = (context) => {
      // Somebody may want to see background as if it were an object.
      const isSpared = layer.displayState?.hideSegmentZero.value && !isPreparing;
      if (isSpared && !hasLabels(layer, context.sliceView)) return;
      draw(context);
      isPrepared = true;
    };
  };
  /** @returns {NgRenderLayer[]} what the label layers draw */
  const labels = () =>
    layerManager.managedLayers.flatMap(({ layer }) => {
      const shown = /** @type {{displayState?: unknown, renderLayers?: NgRenderLayer[]} | null} */ (layer);
      return Object(shown?.displayState).segmentationGroupState ? (shown?.renderLayers ?? []) : [];
    });
  // A layer gets what it draws with some time after it was made; a frame begins with this signal.
  display.updateStarted.add(() => labels().forEach(spare));

  let calm = 0;
  let moves = 0;
  viewer.state.changed.add(() => (moves += 1));
  const timer = setInterval(() => {
    const prepared = labels().filter((layer) => known.has(layer));
    const isCalm = moves === 0 && !document.hidden && prepared.length > 0 && viewer.isReady();
    calm = isCalm ? calm + 1 : 0;
    moves = 0;
    if (calm < CALM_LOOKS) return;
    clearInterval(timer);
    isPreparing = true;
    isPrepared = false;
    const stopWaiting = display.updateFinished.add(() => {
      if (!isPrepared) return;
      isPreparing = false;
      stopWaiting();
    });
    for (const { redrawNeeded } of prepared) redrawNeeded.dispatch();
  }, LOOK_MS);
}
