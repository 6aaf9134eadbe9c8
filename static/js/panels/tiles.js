/** The three ways to segment: a tile each with its size, and a small button that only asks. */

import { h, icon } from "../dom.js";

/**
 * @typedef {import("../types.js").SegmentMode} SegmentMode
 * @typedef {import("../types.js").Region} Region
 * @typedef {{name: string, key: string, help: string, icon: import("../dom.js").IconName}} Words
 */

/** @type {{[mode in SegmentMode]: Words}} */
export const MODES = {
  slice: { name: "Slice", key: "G", icon: "slice", help: "The plane under view" },
  box: { name: "Box", key: "⇧G", icon: "box", help: "The visible box, section by section" },
  orthoplane: { name: "Orthoplane", key: "T", icon: "orthoplane", help: "The visible box seen along three axes, whose planes vote: best, and three times the work" },
};

/** @param {Region} region @param {SegmentMode} mode @returns {[string, string]} size, and detail */
function describeRegion({ roi, plane, sections, voxel_size, fits }, mode) {
  const [z, y, x] = roi.shape;
  const nm = `${Number(Math.min(...voxel_size).toPrecision(3))} nm`;
  if (mode !== "slice") return [[x, y, z].join("×"), fits ? nm : "too large"];
  const sides = plane === "xz" ? [x, z] : plane === "yz" ? [z, y] : [x, y];
  const count = sections === null ? "" : `${sections} × `;
  return [sides.join("×"), fits ? `${count}${plane} · ${nm}` : "too large"];
}

/** @param {import("../api.js").ApiError} error @returns {string} why there is no size, in a few words */
function shortly({ status, kind }) {
  if (status === 0) return "offline";
  return { "nothing-drawn": "not drawn", "roi-out-of-bounds": "not here" }[kind] ?? "not possible";
}

/** @param {SegmentMode} mode @param {() => void} onClick */
function makeTile(mode, onClick) {
  const { name, key, help, icon: drawing } = MODES[mode];
  const size = h("span", { class: "tile-size", text: "…" });
  const detail = h("span", { class: "tile-size", text: "…" });
  const element = h(
    "button",
    { class: "tile", title: help, attributes: { type: "button" }, on: { click: onClick } },
    h("span", { class: "tile-head" }, icon(drawing), h("kbd", { text: key })),
    h("span", { class: "tile-name", text: name }),
    size,
    detail,
  );
  /** @param {[string, string]} texts @param {string} said @param {boolean} isTooLarge */
  const show = ([first, second], said, isTooLarge) => {
    size.textContent = first;
    detail.textContent = second;
    element.title = `${help}.\n${said}`;
    element.classList.toggle("is-too-large", isTooLarge);
  };
  return {
    element,
    /** @param {Region} region */
    measured: (region) => show(describeRegion(region, mode), region.message, !region.fits),
    /** @param {import("../api.js").ApiError} error */
    refused: (error) => show(["–", shortly(error)], error.message, false),
  };
}

/** @param {SegmentMode} mode @param {() => void} onClick */
function makeQuestion(mode, onClick) {
  const { name, icon: drawing } = MODES[mode];
  const label = `What would ${name} change?`;
  return h("button",
    { class: "question", title: `${label} Nothing is changed yet.`, attributes: { type: "button", "aria-label": label }, on: { click: onClick } },
    icon(drawing));
}

/**
 * @param {(mode: SegmentMode, isRehearsal: boolean) => void} onClick
 */
export function makeTiles(onClick) {
  const modes = /** @type {SegmentMode[]} */ (Object.keys(MODES));
  const tiles = modes.map((mode) => ({ mode, ...makeTile(mode, () => onClick(mode, false)) }));
  const questions = modes.map((mode) => makeQuestion(mode, () => onClick(mode, true)));
  const element = h("fieldset", { class: "plain" },
    h("div", { class: "tiles" }, ...tiles.map((tile) => tile.element)),
    h("div", { class: "questions", attributes: { role: "group", "aria-label": "What would change?" } },
      h("span", { text: "What would change?" }), ...questions));
  return { element, tiles };
}
