/** The points of a split, their markers and the preview in the viewer: one unfinished split. */

/**
 * @typedef {import("../types.js").Zyx} Zyx
 * @typedef {import("../types.js").Id} Id
 * @typedef {"source" | "sink"} Side
 * @typedef {{position: Zyx, id: Id}} Point
 */

export const SIDES = /** @type {const} */ ({
  source: { layer: "split · side A", colour: "#4c9aff", name: "A", key: "Q" },
  sink: { layer: "split · side B", colour: "#ff9f43", name: "B", key: "W" },
});
const PREVIEW_LAYER = "split · preview";

/** Layers that exist only while a split is being made. */
export const WORKING_LAYERS = [SIDES.source.layer, SIDES.sink.layer, PREVIEW_LAYER];

const MARKER = `void main() {
  setColor(defaultColor());
  setPointMarkerSize(11.0);
  setPointMarkerBorderWidth(2.0);
  setPointMarkerBorderColor(vec3(1.0));
}`;

/** @param {Zyx} position @returns {Zyx} the voxel that contains it */
export const voxelOf = ([z, y, x]) => [Math.floor(z), Math.floor(y), Math.floor(x)];

export class SplitDraft {
  /** @param {import("../bridge.js").Bridge} bridge */
  constructor(bridge) {
    this.bridge = bridge;
    /** @type {{source: Point[], sink: Point[]}} */
    this.points = { source: [], sink: [] };
    /** @type {import("../types.js").SplitPreview | null} */
    this.preview = null;
  }

  get isEmpty() {
    return this.points.source.length + this.points.sink.length === 0;
  }

  get isReady() {
    return this.points.source.length > 0 && this.points.sink.length > 0;
  }

  /** @param {Side} side @returns {Zyx[]} */
  voxels(side) {
    return this.points[side].map(({ position }) => voxelOf(position));
  }

  /** @param {Side} side @param {Point} point @returns {string | null} why it cannot be added */
  add(side, point) {
    const first = this.points.source[0] ?? this.points.sink[0];
    if (first && first.id !== point.id) {
      return "All points of a split lie on one object. Point at the same object, or clear the points with Esc.";
    }
    this.points[side].push(point);
    this.redraw(side);
    return null;
  }

  /** @param {Side} side @param {number} index */
  remove(side, index) {
    this.points[side].splice(index, 1);
    this.redraw(side);
  }

  /** @param {Side} side */
  redraw(side) {
    this.hidePreview();
    const { layer, colour } = SIDES[side];
    const annotations = this.points[side].map(({ position: [z, y, x] }, index) => ({
      type: "point",
      id: `${side}-${index}`,
      point: [x, y, z],
    }));
    if (annotations.length === 0) this.bridge.removeLayer(layer);
    else {
      this.bridge.setLayer({
        name: layer,
        type: "annotation",
        source: "local://annotations",
        annotationColor: colour,
        shader: MARKER,
        annotations,
      });
    }
  }

  /** @param {import("../types.js").SplitPreview} preview two parts, in the colours of their sides */
  showPreview(preview) {
    this.preview = preview;
    this.bridge.setLayer({
      name: PREVIEW_LAYER,
      type: "segmentation",
      source: preview.url,
      segments: ["1", "2"],
      segmentColors: { 1: SIDES.source.colour, 2: SIDES.sink.colour },
      selectedAlpha: 0.75,
      pick: false,
    });
  }

  hidePreview() {
    this.preview = null;
    this.bridge.removeLayer(PREVIEW_LAYER);
  }

  clear() {
    this.points = { source: [], sink: [] };
    this.preview = null;
    for (const name of WORKING_LAYERS) this.bridge.removeLayer(name);
  }
}
