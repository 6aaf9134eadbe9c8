/** A box or polygon drawn in the viewer: as text, as an annotation, as a request says it. No DOM. */

/**
 * @typedef {import("./types.js").Zyx} Zyx
 * @typedef {import("./types.js").Roi} Roi
 * @typedef {import("./types.js").Within} Within
 * @typedef {{[key: string]: import("./types.js").Json}} Annotation
 */

const AXES = /** @type {const} */ (["x", "y", "z"]);

/** @param {Zyx} zyx @returns {[number, number, number]} as the viewer counts */
const xyz = ([z, y, x]) => [x, y, z];

/** @param {number} value @returns {number} the voxel it is in; a plane at 60 may be told as 59.99999 */
const voxel = (value) => Math.floor(value + 1e-3);

/** @param {Zyx} a @param {Zyx} b @returns {Roi} the voxels of both, and what lies between them */
export function boxOf(a, b) {
  /** @param {(u: number, v: number) => number} choose @returns {Zyx} */
  const corner = (choose) => [
    choose(voxel(a[0]), voxel(b[0])), choose(voxel(a[1]), voxel(b[1])), choose(voxel(a[2]), voxel(b[2]))];
  const [offset, last] = [corner(Math.min), corner(Math.max)];
  return { offset, shape: [last[0] - offset[0] + 1, last[1] - offset[1] + 1, last[2] - offset[2] + 1] };
}

/** @param {Roi} box @returns {string} its first and last voxels, such as `x 10-59, y 0-99, z 7` */
export function boxText({ offset, shape }) {
  const [from, sides] = [xyz(offset), xyz(shape)];
  return AXES.map((axis, i) => {
    const [first, side] = [from[i] ?? 0, sides[i] ?? 1];
    return side === 1 ? `${axis} ${first}` : `${axis} ${first}-${first + side - 1}`;
  }).join(", ");
}

/**
 * @param {string} text as `boxText` writes it, in any order; an axis that is left out is all of it
 * @param {Roi} bounds of the volume
 * @returns {Roi | null} null where it is no box
 */
export function boxFromText(text, bounds) {
  /** @type {{[axis: string]: [number, number]}} */
  const spans = {};
  for (const part of text.split(",")) {
    const [, axis, first, last] = /^\s*([xyz])\s*(\d{1,9})(?:\s*[-–]\s*(\d{1,9}))?\s*$/i.exec(part) ?? [];
    if (axis === undefined || spans[axis.toLowerCase()]) return null;
    const span = /** @type {[number, number]} */ ([Number(first), Number(last ?? first)]);
    if (span[0] > span[1]) return null;
    spans[axis.toLowerCase()] = span;
  }
  const [from, sides] = [xyz(bounds.offset), xyz(bounds.shape)];
  /** @type {[number, number][]} */
  const [x, y, z] = AXES.map((axis, i) => {
    const first = from[i] ?? 0;
    return spans[axis] ?? [first, first + (sides[i] ?? 1) - 1];
  });
  return x && y && z ? boxOf([z[0], y[0], x[0]], [z[1], y[1], x[1]]) : null;
}

/** @param {Within} within @returns {Annotation} how the viewer draws it */
export function annotationOf(within) {
  if ("box" in within) {
    const { offset: [z, y, x], shape: [dz, dy, dx] } = within.box;
    return { type: "axis_aligned_bounding_box", id: "region", pointA: [x, y, z], pointB: [x + dx, y + dy, z + dz] };
  }
  return lineThrough([...within.polygon, ...within.polygon.slice(0, 1)]);
}

/** @param {Zyx[]} points @returns {Annotation} an open line, or a point */
export function lineThrough(points) {
  const [first, ...others] = points.map(xyz);
  if (first === undefined || others.length === 0) return { type: "point", id: "region", point: first ?? [0, 0, 0] };
  return { type: "polyline", id: "region", points: [first, ...others] };
}

/** @param {unknown} value @returns {Zyx | null} */
function pointOf(value) {
  const [x = NaN, y = NaN, z = NaN] = Array.isArray(value) ? value.map(Number) : [];
  return Number.isFinite(x + y + z) ? [z, y, x] : null;
}

/** @param {Annotation} annotation @returns {Within | null} null where it surrounds nothing */
export function outlineOf({ type, pointA, pointB, points }) {
  if (type === "axis_aligned_bounding_box") {
    const [a, b] = [pointOf(pointA), pointOf(pointB)];
    if (a === null || b === null) return null;
    /** @type {Zyx} */
    const end = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.max(a[2], b[2])];
    const begin = a.map((v, i) => Math.min(v, b[i] ?? v));
    // The end is the first voxel outside, unless both corners lie in one voxel.
    const last = end.map((v, i) => Math.max(begin[i] ?? v, Math.ceil(v - 1e-3) - 1));
    return { box: boxOf(/** @type {Zyx} */ (begin), /** @type {Zyx} */ (last)) };
  }
  if (type !== "polyline" || !Array.isArray(points)) return null;
  const corners = points.map(pointOf).filter((point) => point !== null);
  const [first, last] = [corners[0], corners.at(-1)];
  if (corners.length > 3 && String(first) === String(last)) corners.pop();
  return corners.length >= 3 ? { polygon: corners } : null;
}

/** @param {Within} within @param {string[]} planes @returns {string} what a line of the form says of it */
export function describeOutline(within, planes = ["z", "y", "x"]) {
  if ("box" in within) return boxText(within.box);
  const across = [0, 1, 2].find((axis) => new Set(within.polygon.map((point) => voxel(point[axis] ?? 0))).size === 1);
  const where = across === undefined ? "" : `, on ${planes[across]} ${voxel(within.polygon[0]?.[across] ?? 0)}`;
  return `${within.polygon.length} corners${where}`;
}
