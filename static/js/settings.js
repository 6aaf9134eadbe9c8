/** What may be set for a segmentation: its words, what is wrong with a value, what differs. No DOM. */

/**
 * @typedef {import("./types.js").Setting} Setting
 * @typedef {import("./types.js").SettingValue} SettingValue
 * @typedef {import("./types.js").SettingValues} SettingValues
 * @typedef {import("./types.js").Session} Session
 */

export const CONTRAST = "contrast";
export const EXISTING = "existing";
export const MAPS = "maps";
export const STACKS = "stacks";
export const VOXEL_SIZE = "voxel_size_nm";
export const ENGINE = "engine";
export const PRESET = "preset";
export const CLASS = "class";

/** Labels and units of what the server describes, in the groups and the order of the form. */
const WORDS = /** @type {const} */ ([
  ["Finding objects", {
    confidence_thr: ["Confidence"],
    center_confidence_thr: ["Centre confidence"],
    min_distance_object_centers: ["Centre distance", "px"],
    fine_boundaries: ["Fine boundaries"],
    test_time_augmentation: ["Mirror images"],
    semantic_only: ["Semantic only"],
  }],
  ["Linking sections · box, orthoplane", {
    median_slices: ["Median sections"],
    match_iou_thr: ["Overlap to match"],
    match_ioa_thr: ["Share to match"],
  }],
  ["Voting · orthoplane", {
    pixel_vote_thr: ["Votes", "of 3"],
    allow_one_view: ["One view is enough"],
  }],
  ["Tidying up", {
    min_area: ["Min area in a section", "px"],
    min_size: ["Min size", "voxels"],
    min_extent: ["Min extent", "voxels"],
    maximum_objects_per_class: ["Max objects"],
    label_erosion: ["Erode", "voxels"],
    label_dilation: ["Dilate", "voxels"],
    fill_holes_in_segmentation: ["Fill holes"],
  }],
]);

const NO_RANGE = { low: null, high: null, step: null, unit: "", options: [] };

/** @param {Session} session @returns {Setting} */
function voxelSize({ limits }) {
  const [low, high] = limits.voxel_size_nm;
  const help = "Voxel size at which the image is read: the pyramid level nearest to it. The model's own when empty.";
  return { name: VOXEL_SIZE, label: "Voxel size", help, kind: "number", default: null, low, high, step: 1, unit: "nm", options: [] };
}

/** @type {Setting} */
const contrast = {
  ...NO_RANGE,
  name: CONTRAST,
  label: "Contrast",
  help: "What the network takes for black and white: the volume's own statistics, or what the image layer shows black and white now, inverted too (its gamma does not count).",
  kind: "choice",
  default: "own",
  options: [["own", "Volume's own"], ["shown", "As shown"]],
};

/** @type {Setting} */
const existing = {
  ...NO_RANGE,
  name: EXISTING,
  label: "Existing labels",
  help: "What becomes of labels that lie in the region. Edited objects are overwritten by “Replace all” only.",
  kind: "choice",
  default: "replace-unedited",
  options: [["fill-empty", "Fill empty"], ["replace-unedited", "Replace unedited"], ["replace-all", "Replace all"]],
};

/** @type {Setting} */
const engine = {
  ...NO_RANGE,
  name: ENGINE,
  label: "Engine",
  help: "What runs the network: the fastest way that gives its own maps, or 8-bit numbers, which on a CPU take less time and lose a little. What was lost is in the history.",
  kind: "choice",
  default: "exact",
  options: [["exact", "Exact"], ["int8", "8-bit, faster"]],
};

/** @type {Setting} */
const preset = {
  ...NO_RANGE,
  name: PRESET,
  label: "Arithmetic",
  help: "empanada 1.2.4 gives what empanada-napari gives when it is shown just this region: slower, and what is found depends on where the region ends. For comparison; contrast and engine are then its own.",
  kind: "choice",
  default: "own",
  options: [["own", "Mitoglance"], ["empanada-exact", "empanada 1.2.4"]],
};

/** @param {Session} session @returns {Setting[]} what to look for, where a model knows several things */
function classChoice({ models }) {
  const names = [...new Set(models.flatMap(({ classes }) => (classes.length > 1 ? classes : [])))];
  if (names.length === 0) return [];
  return [{
    ...NO_RANGE,
    name: CLASS,
    label: "Look for",
    help: "Which of the things that the model knows is looked for, or all of them in one go. A model that does not know it says so.",
    kind: "choice",
    default: "",
    options: [["", "Model's usual"], ...names.map((name) => /** @type {[string, string]} */ ([name, name])), ["all", "All of them"]],
  }];
}

/** @type {Setting} */
const maps = {
  ...NO_RANGE,
  name: MAPS,
  label: "Keep heat maps",
  help: "Shows how probable the network finds each voxel, and where it sees centres, as layers over the image. What was segmented without them is computed again.",
  kind: "switch",
  default: false,
};

/** @type {Setting} */
const stacks = {
  ...NO_RANGE,
  name: STACKS,
  label: "Keep the three stacks",
  help: "Orthoplane: what the xy, xz and yz sections show by themselves, before the vote, as layers to switch on. They are to be looked at, and are never written into the labels.",
  kind: "switch",
  default: false,
};

/** @param {Session} session @returns {[title: string, settings: Setting[]][]} the form, group by group */
export function settingGroups(session) {
  const left = new Map(session.parameters.map((parameter) => [parameter.name, parameter]));
  /** @param {string} name @param {readonly string[]} words @returns {Setting[]} */
  const described = (name, [label = name, unit = ""]) => {
    const parameter = left.get(name);
    left.delete(name);
    return parameter ? [{ ...NO_RANGE, ...parameter, help: `${parameter.help}\n${name}`, label, unit }] : [];
  };
  /** @type {[string, Setting[]][]} */
  const found = WORDS.map(([title, words]) => [
    title, Object.entries(words).flatMap(([name, said]) => described(name, said))]);
  // Nothing that the server knows is hidden because this page has no word for it.
  const others = [...left.keys()].flatMap((name) => described(name, []));
  if (others.length > 0) found.push(["Others", others]);
  return [["Image", [voxelSize(session), contrast]], ...found, ["Running", [...classChoice(session), engine, preset]], ["Writing", [existing, maps, stacks]]];
}

/** @param {Setting} setting @param {SettingValue} value @returns {string | null} what is wrong */
export function problemOf({ kind, low, high, step, options, default: usual }, value) {
  if (value === null) return usual === null ? null : "Choose a value.";
  if (kind === "switch") return typeof value === "boolean" ? null : "Choose yes or no.";
  if (kind === "choice") return options.some(([name]) => name === value) ? null : "Choose one.";
  const [least, most, by] = [low ?? -Infinity, high ?? Infinity, step ?? 1];
  const range = `from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}`;
  if (typeof value !== "number" || !(value >= least && value <= most)) return `Must be ${range}.`;
  if (kind === "integer" && (value - least) % by !== 0) {
    return by === 2 ? `Must be odd, ${range}.` : `Must be a whole number ${range}.`;
  }
  return null;
}

/**
 * @param {import("./types.js").SegmentOptions} options
 * @returns {import("./types.js").SegmentOptions} the same for a job that follows the view: the
 *   server's own usage of what is there, unless another one was chosen
 */
export function followOptions({ existing: chosen, ...rest }) {
  return { ...rest, existing: chosen === existing.default ? "fill-empty" : chosen };
}

/** @param {Setting[]} settings @param {SettingValues} values @returns {SettingValues} */
export function differing(settings, values) {
  const changed = settings.filter(({ name, default: usual }) => values[name] !== usual);
  return Object.fromEntries(changed.map(({ name }) => [name, values[name] ?? null]));
}

/** @param {Setting} setting @param {SettingValue} value @returns {string} for a chip */
export function shortText({ name, label, kind, unit, options }, value) {
  const word = label.toLowerCase();
  if (kind === "switch") return value === true ? word : `not ${word}`;
  if (kind === "choice") {
    const option = (options.find(([option]) => option === value)?.[1] ?? word).toLowerCase();
    return name === CONTRAST ? `${word} ${option}` : option;
  }
  return unit === "nm" ? `${value} nm` : `${word} ${value}`;
}

/**
 * @param {Setting[]} settings
 * @param {SettingValues} own what the chosen model does better with
 * @returns {Setting[]} the same with these as defaults, where they can be
 */
export function usualFor(settings, own) {
  return settings.map((setting) => {
    const usual = own[setting.name];
    return usual === undefined || problemOf(setting, usual) !== null ? setting : { ...setting, default: usual };
  });
}

/**
 * @param {Setting[]} settings
 * @param {string | null} text what was kept
 * @returns {SettingValues} what somebody chose, where it is still right
 */
export function chosenBefore(settings, text) {
  /** @type {SettingValues} */
  let kept = {};
  try {
    kept = Object(JSON.parse(text ?? "{}"));
  } catch {
    // Not ours, or cut short: as if nothing had been kept.
  }
  return Object.fromEntries(settings.flatMap((setting) => {
    const value = kept[setting.name];
    const isRight = value !== undefined && problemOf(setting, value) === null;
    return isRight ? [[setting.name, value]] : [];
  }));
}

/**
 * @param {Setting[]} settings
 * @param {SettingValues} values
 * @param {import("./types.js").GreyRange | null} shown
 * @returns {import("./types.js").SegmentOptions} what a request says of them
 */
export function optionsOf(settings, values, shown) {
  const changed = differing(settings, values);
  const { [VOXEL_SIZE]: nm, [CONTRAST]: greys, [EXISTING]: _, [ENGINE]: ran, [PRESET]: how, [CLASS]: kind, [MAPS]: keepMaps, [STACKS]: keepStacks, ...parameters } = changed;
  return {
    parameters,
    existing: values[EXISTING] ?? null,
    ...(typeof nm === "number" ? { voxel_size_nm: nm } : {}),
    ...(typeof ran === "string" ? { engine: ran } : {}),
    ...(typeof kind === "string" ? { class: kind } : {}),
    ...(typeof how === "string" ? { preset: how } : {}),
    ...(greys === "shown" && shown !== null ? { grey_range: shown } : {}),
    ...(keepMaps === true ? { maps: true } : {}),
    ...(keepStacks === true ? { stacks: true } : {}),
  };
}
