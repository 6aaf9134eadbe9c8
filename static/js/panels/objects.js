/** The list of objects, the least sure first: what a proofreader looks at next. */

import { button, h, rows } from "../dom.js";

/**
 * @typedef {import("../types.js").ObjectRow} ObjectRow
 * @typedef {import("../types.js").State} State
 */

const PAGE = 50;
/** Rows that are read again at most when labels change. */
const MOST_AGAIN = 500;

/** @type {[value: string, label: string][]} */
const ORDERS = [
  ["probability", "Least sure first"],
  ["-probability", "Surest first"],
  ["-voxels", "Largest first"],
  ["voxels", "Smallest first"],
];

const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });
const volume = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** @param {ObjectRow} object */
function confidence({ probability, agreement }) {
  if (probability === null || agreement === null) {
    return { figure: "–", title: "Not known: made by hand, imported, or from an earlier release" };
  }
  const planes = agreement < 1 ? `; the planes agree by ${percent.format(agreement)}` : "";
  const figure = percent.format(probability);
  return { figure, title: `The network's mean probability is ${figure}${planes}` };
}

/** @param {string} value @param {string} text */
const option = (value, text) => h("option", { text, attributes: { value } });

/**
 * @param {HTMLElement} root
 * @param {import("../types.js").Context} context
 * @returns {import("../types.js").PanelPart}
 */
export function mountObjects(root, context) {
  const { api, bridge, store, notify } = context;
  /** @type {ObjectRow[]} */
  let objects = [];
  /** The version that they are of; null while none was read. */
  let version = /** @type {number | null} */ (null);
  let isLoading = false;
  /** Whether something else was chosen meanwhile. */
  let isOutdated = false;
  /** @type {string[]} the classes that there are to choose from */
  let classes = [];

  const order = h("select", { attributes: { "aria-label": "Order of the objects" }, on: { change: () => void load(false) } },
    ...ORDERS.map(([value, text]) => option(value, text)));
  const only = h("select", { attributes: { "aria-label": "Class of the objects", hidden: true }, on: { change: () => void load(false) } },
    option("", "All classes"));
  const hint = h("p", { class: "hint", text: "Nothing is segmented yet." });
  const list = h("ul", { class: "objects", attributes: { "aria-label": "Objects" } });
  const more = button({ label: "More", kind: "small", onClick: () => void load(true) });
  const details = h("details", { class: "split", on: { toggle: () => void refresh() } },
    h("summary", { text: "All objects" }), h("div", { class: "field" }, order, only), hint, list, more);
  root.append(h("section", { class: "card", attributes: { "aria-label": "Objects" } }, details));

  /** @param {State} state */
  const shownVersion = ({ session, head }) => session.pinned_version ?? head;

  async function refresh() {
    if (!isLoading && details.open && version !== shownVersion(store.state)) await load(false);
  }

  /** @param {boolean} isMore the next page of the same version; else from the start, as many as before */
  async function load(isMore) {
    if (isLoading) {
      isOutdated ||= !isMore;
      return;
    }
    isLoading = true;
    isOutdated = false;
    list.setAttribute("aria-busy", "true");
    const wanted = isMore && version !== null ? version : shownVersion(store.state);
    const last = isMore ? objects.at(-1)?.id : undefined;
    const limit = isMore ? PAGE : Math.min(Math.max(PAGE, objects.length), MOST_AGAIN);
    try {
      if (wanted !== version) offer(await api.classes(wanted));
      const found = await api.objects({ version: wanted, sort: order.value, limit,
        ...(last ? { after: last } : {}), ...(only.value ? { class: only.value } : {}) });
      objects = isMore ? [...objects, ...found] : found;
      version = wanted;
      more.hidden = found.length < limit;
      draw();
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error), { error: true, key: "objects" });
    } finally {
      isLoading = false;
      list.removeAttribute("aria-busy");
    }
    if (isOutdated) await load(false);
  }

  /** Let people choose among classes, where there are several. @param {string[]} names */
  function offer(names) {
    if (names.join("\n") === classes.join("\n")) return;
    classes = names;
    const chosen = names.length > 1 && names.includes(only.value) ? only.value : "";
    only.replaceChildren(option("", "All classes"), ...names.map((name) => option(name, name)));
    only.value = chosen;
    only.hidden = names.length < 2;
  }

  function draw() {
    hint.hidden = objects.length > 0;
    hint.textContent = only.value ? "No object is of this class." : "Nothing is segmented yet.";
    list.hidden = objects.length === 0;
    // What is said of an object may have changed: only rows that say the same are kept.
    const several = new Set(objects.map((object) => object.class)).size > 1;
    rows(list, objects, (object) => JSON.stringify([object, several]), makeRow);
    mark();
  }

  /** @param {ObjectRow} object */
  function makeRow(object) {
    const { id, centroid, volume_nm3, probability } = object;
    const { figure, title } = confidence(object);
    // Said where there is a choice: of one class everything is.
    const kind = new Set(objects.map((other) => other.class)).size > 1 ? object.class : null;
    const swatch = h("span", { class: "swatch" });
    swatch.style.setProperty("--chip", bridge.colour(id));
    const bar = h("span", { class: "sure" });
    bar.style.setProperty("--sure", `${probability ?? 0}`);
    const entry = h("button",
      { class: "entry object", title: "Show and pick this object", attributes: { type: "button", "data-id": id },
        on: { click: () => { bridge.lookAt(centroid); bridge.select([id]); } } },
      swatch,
      h("span", { class: "entry-text" }, id, kind ? h("span", { class: "object-class", text: kind }) : null),
      h("span", { class: "object-size", text: `${volume.format(volume_nm3 / 1e9)} µm³` }),
      h("span", { class: "figure", title }, bar, h("span", { text: figure })));
    return h("li", {}, entry);
  }

  /** Show which of them are picked. */
  function mark() {
    const picks = new Set(store.state.picks);
    for (const entry of list.querySelectorAll(".object")) {
      const isPicked = picks.has(entry.getAttribute("data-id") ?? "");
      if (isPicked) entry.setAttribute("aria-current", "true");
      else entry.removeAttribute("aria-current");
    }
  }

  return {
    actions: {},
    render() {
      mark();
      void refresh();
    },
  };
}
