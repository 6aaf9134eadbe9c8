/** Where to segment: what is in view, or in a box or polygon that is drawn; and which sections. */

import { ApiError } from "../api.js";
import { button, h } from "../dom.js";
import { annotationOf, boxFromText, boxOf, boxText, describeOutline, lineThrough, outlineOf } from "../outline.js";

/**
 * @typedef {import("../types.js").Zyx} Zyx
 * @typedef {import("../types.js").Within} Within
 * @typedef {"view" | "box" | "polygon"} Place
 */

export const REGION_LAYER = "region";
const COLOUR = "#ffd166";
const PLACES = /** @type {const} */ ([["view", "In view"], ["box", "In a box"], ["polygon", "In a polygon"]]);
const SHADER = `void main() {
  setColor(defaultColor());
  setPointMarkerSize(9.0);
  setLineWidth(2.0);
}`;
const HINTS = {
  box: "Mark two opposite corners: Q at the pointer, or Ctrl+click.",
  polygon: "Mark the corners on one section: Q at the pointer, or Ctrl+click. Enter closes it.",
};
const SECTIONS_HELP = "Sections such as 10, 20-30, 45. Slice segments each for itself, all in one operation; "
  + "Box and Orthoplane go from the first to the last. Empty: the one in view, or the depth of the box.";

/**
 * @param {import("../types.js").Context} context
 * @param {() => void} onChange called when another region would be sent
 */
export function makeWhere({ bridge, store, notify }, onChange) {
  const { bounds } = store.state.session;
  const select = h("select", { attributes: { "aria-label": "Where" }, on: { change: () => chosen() } },
    ...PLACES.map(([value, text]) => h("option", { text, attributes: { value } })));
  const sections = h("input", {
    title: SECTIONS_HELP,
    attributes: { type: "text", placeholder: "sections", "aria-label": "Sections", autocomplete: "off", spellcheck: "false", maxlength: 400 },
    on: { input: () => onChange() },
  });
  const numbers = h("input", {
    title: "First and last voxels, such as x 10-59, y 0-99, z 7. An axis that is left out is all of it.",
    attributes: { type: "text", placeholder: "x 10-59, y 0-99, z 7", "aria-label": "Box", autocomplete: "off", spellcheck: "false", maxlength: 120 },
    on: { change: () => write() },
  });
  const said = h("span", { class: "outline-text" });
  const draw = button({ label: "Draw", kind: "small", onClick: () => (corners === null ? begin() : close()) });
  const hint = h("p", { class: "outline-hint", attributes: { "aria-live": "polite" } });
  const line = h("div", { class: "outline" }, numbers, said, draw, hint);
  const element = h("fieldset", { class: "plain where" },
    h("div", { class: "field" }, h("span", { text: "Where" }), select, sections), line);

  /** @type {{box: Within | null, polygon: Within | null}} what was drawn last, shown or not */
  const kept = { box: null, polygon: null };
  /** @type {Zyx[] | null} corners of what is being drawn */
  let corners = null;

  const place = () => /** @type {Place} */ (select.value);

  /** @returns {Within | null} what is drawn in the viewer now, whoever drew it */
  function drawn() {
    const found = bridge.annotations(REGION_LAYER).map(outlineOf).find((one) => one !== null) ?? null;
    const kind = place();
    return found !== null && kind in found ? found : null;
  }

  /** @param {import("../outline.js").Annotation[]} annotations */
  function show(annotations) {
    if (annotations.length === 0) return bridge.removeLayer(REGION_LAYER);
    bridge.setLayer({
      name: REGION_LAYER, type: "annotation", source: "local://annotations", annotationColor: COLOUR,
      shader: SHADER, annotations,
    });
  }

  /** @param {Within | null} within */
  function keep(within) {
    const kind = place();
    if (kind === "view") return show([]);
    kept[kind] = within;
    show(within === null ? [] : [annotationOf(within)]);
    render();
    onChange();
  }

  /** A box can be written as well; a polygon that is not there yet can but be drawn. */
  function chosen() {
    choose(place());
    if (place() === "polygon" && kept.polygon === null) begin();
  }

  /** @param {Place} kind */
  function choose(kind) {
    corners = null;
    show(kind === "view" || kept[kind] === null ? [] : [annotationOf(kept[kind])]);
    render();
    onChange();
  }

  function begin() {
    corners = [];
    render();
    onChange();
    bridge.focus();
  }

  /** Add the place of the pointer (or the centre of the view) to what is being drawn. */
  function mark() {
    if (corners === null) return;
    corners.push(bridge.pointer().position);
    const [first, second] = corners;
    if (place() === "box" && first && second) return finish({ box: boxOf(first, second) });
    show([lineThrough(corners)]);
    render();
  }

  function close() {
    if (corners === null) return;
    if (place() !== "polygon" || corners.length < 3) {
      notify(place() === "box" ? "A box needs two opposite corners." : "A polygon needs three corners or more.", { key: "region" });
    } else finish({ polygon: corners });
  }

  /** @param {Within} within */
  function finish(within) {
    corners = null;
    keep(within);
  }

  /** Leave what is being drawn; what was there before is there again. */
  function leave() {
    if (corners !== null) choose(place());
  }

  /** Take the numbers that were written. */
  function write() {
    const box = boxFromText(numbers.value, bounds);
    numbers.setAttribute("aria-invalid", String(box === null && numbers.value.trim() !== ""));
    if (box !== null) finish({ box });
    else onChange();
  }

  function render() {
    const kind = place();
    const within = kind === "view" ? null : kept[kind];
    line.hidden = kind === "view";
    numbers.hidden = kind !== "box";
    said.hidden = kind !== "polygon";
    if (within && "box" in within) {
      numbers.value = boxText(within.box);
      numbers.setAttribute("aria-invalid", "false");
    }
    said.textContent = within === null ? "Nothing drawn yet" : describeOutline(within);
    if (corners !== null && corners.length > 0) said.textContent = `${corners.length} ${corners.length === 1 ? "corner" : "corners"}`;
    hint.hidden = corners === null || kind === "view";
    if (kind !== "view") hint.textContent = HINTS[kind];
    const label = draw.querySelector(".button-label");
    const isClosing = corners !== null && kind === "polygon";
    if (label) label.textContent = isClosing ? "Close" : within === null ? "Draw" : "Draw again";
    draw.disabled = corners !== null && !isClosing;
    draw.classList.toggle("primary", isClosing && (corners?.length ?? 0) >= 3);
  }

  /** What is in the kept view is still what was drawn. */
  function restore() {
    const [found] = bridge.annotations(REGION_LAYER).map(outlineOf).filter((one) => one !== null);
    if (found === undefined) return;
    select.value = "box" in found ? "box" : "polygon";
    kept["box" in found ? "box" : "polygon"] = found;
    render();
    onChange();
  }

  void bridge.rest.come().then(restore);
  render();

  return {
    element,
    /** @returns {import("../types.js").Where} an ApiError where something has to be drawn first */
    where() {
      const listed = sections.value.trim() === "" ? {} : { sections: sections.value.trim() };
      const kind = place();
      if (kind === "view") return listed;
      const wrong = numbers.getAttribute("aria-invalid") === "true" && kind === "box";
      const within = wrong ? null : drawn();
      if (within !== null) return { within, ...listed };
      throw new ApiError(
        wrong ? "A box is written x 10-59, y 0-99, z 7. Nothing was sent."
          : `Draw the ${kind} first. Nothing was sent.`, wrong ? "not-a-box" : "nothing-drawn", 400);
    },
    /** @returns {boolean} whether marks and Enter are about the region just now */
    isDrawing: () => corners !== null,
    mark,
    close,
    leave,
  };
}
