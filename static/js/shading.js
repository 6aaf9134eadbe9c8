/** The shader controls of the image layer: what they say, and where one sets them. */

/** @typedef {import("./types.js").NgViewer} NgViewer */

/**
 * @param {NgViewer} viewer
 * @param {string} name of an image layer
 * @returns {import("./types.js").GreyRange | null} what its contrast control shows black and
 *   white, "invert" taken into account; null when there is none
 */
export function shownRange(viewer, name) {
  const layer = /** @type {Partial<import("./types.js").NgImage> | null | undefined} */ (
    viewer.layerManager.getLayerByName(name)?.layer
  );
  const controls = layer?.shaderControlState?.state;
  const isInverted = controls?.get("invert")?.trackable.value === true;
  // The state in JSON leaves a range out that is the data type's own.
  for (const { trackable: { value } } of controls?.values() ?? []) {
    const [low, high] = ((typeof value === "object" && value.range) || []).map(Number);
    if (low === undefined || high === undefined) continue;
    return isInverted ? { low: high, high: low } : { low, high };
  }
  return null;
}

/**
 * Open the viewer's own side panel where a layer's contrast is set; close it where it is open.
 *
 * @param {NgViewer} viewer
 * @param {string} name of the layer
 */
export function toggleControls({ layerManager, selectedLayer }, name) {
  const managed = layerManager.getLayerByName(name);
  if (managed === undefined) return;
  const { panels } = /** @type {Partial<import("./types.js").NgImage>} */ (managed.layer ?? {});
  const side = panels?.panels[0];
  if (side) side.selectedTab.value = "rendering";
  selectedLayer.toggle(managed);
}
