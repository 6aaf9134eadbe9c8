/** Merge picked objects, split one by points, undo and redo. */

import { button, h, iconButton, rows } from "../dom.js";
import { rootOf } from "../live.js";
import { SIDES, SplitDraft, voxelOf } from "./split.js";

/**
 * @typedef {import("../types.js").Id} Id
 * @typedef {import("./split.js").Side} Side
 */

/** @param {Id} id @returns {string} short enough for a chip; the whole id is its tooltip */
const shortId = (id) => (id.length > 7 ? `…${id.slice(-6)}` : id);

/** @param {string} label @param {string} detail @param {string} remove @param {() => void} onRemove */
function makeChip(label, detail, remove, onRemove) {
  return h(
    "li",
    { class: "chip", title: detail },
    h("span", { class: "swatch", attributes: { "aria-hidden": true } }),
    h("span", { text: label }),
    iconButton({ label: remove, icon: "close", onClick: onRemove }),
  );
}

/** @param {number} count @param {number} total */
const share = (count, total) => `${count.toLocaleString("en")} voxels (${Math.round((100 * count) / total)} %)`;

/**
 * @param {HTMLElement} root
 * @param {import("../types.js").Context} context
 * @returns {import("../types.js").PanelPart}
 */
export function mountEdit(root, context) {
  const { api, bridge, live, store, notify } = context;
  const { editing, drawn } = context.edits;
  const draft = new SplitDraft(bridge);
  // An unfinished split of an earlier visit is still in the kept view.
  void bridge.rest.come().then(() => draft.isEmpty && draft.clear());

  const picks = h("ul", { class: "chips", attributes: { "aria-label": "Picked objects" } });
  const hint = h("p", { class: "hint", text: "Double-click an object to pick it. Pick two or more to merge them." });
  const mergeButton = button({ label: "Merge", icon: "merge", key: "M", kind: "primary", onClick: () => void merge() });
  const removeButton = button({ label: "Delete", key: "Del", title: "Delete the picked objects; undo brings them back", onClick: () => void remove() });
  const clearButton = button({ label: "Clear", title: "Put all picked objects back (X)", onClick: () => bridge.select([]) });
  const undoButton = button({ label: "Undo", icon: "undo", title: "Undo your last edit (Ctrl+Z)", onClick: () => void undo() });
  const redoButton = button({ label: "Redo", icon: "redo", title: "Redo what you undid (Ctrl+Shift+Z)", onClick: () => void redo() });
  const groups = { source: makeGroup("source"), sink: makeGroup("sink") };
  const verdict = h("p", { class: "verdict", attributes: { "aria-live": "polite" } });
  const goButton = button({ label: "Preview", icon: "split", key: "↵", kind: "primary", onClick: () => void confirm() });
  const leaveButton = button({ label: "Cancel", key: "Esc", onClick: () => leaveSplit() });
  const details = h("details", { class: "split" },
    h("summary", { text: "Split an object" }),
    groups.source.box, groups.sink.box, verdict,
    h("div", { class: "row" }, goButton, leaveButton));
  root.append(
    h("section", { class: "card", attributes: { "aria-labelledby": "edit-title" } },
      h("div", { class: "card-head" },
        h("h2", { text: "Correct", attributes: { id: "edit-title" } }),
        h("div", { class: "row tight" }, undoButton, redoButton)),
      h("div", { class: "picks" }, hint, picks),
      h("div", { class: "row three" }, mergeButton, removeButton, clearButton),
      details),
  );

  /** @param {Side} side */
  function makeGroup(side) {
    const { name, key, colour } = SIDES[side];
    const list = h("ul", { class: "chips" });
    const add = button({ label: `Point on side ${name}`, key, kind: "small", title: "At the pointer, or at the centre of the view", onClick: () => addPoint(side) });
    const box = h("div", { class: "side" }, add, list);
    box.style.setProperty("--chip", colour);
    return { box, list };
  }

  const merge = () => editing(async () => {
    const ids = bridge.selection();
    if (ids.length < 2) return notify("Pick two or more objects to merge: double-click each.", { key: "merge" });
    const root = rootOf(ids);
    // Shown in the next frame; taken back should the server refuse.
    const ahead = bridge.links.add(ids, null);
    bridge.select([root]);
    try {
      const { operation } = await api.merge(ids, live.version);
      live.draw(operation, ahead);
    } catch (error) {
      bridge.links.drop(ahead);
      bridge.select(ids);
      throw error;
    }
    await live.catchUp();
  });

  const remove = () => editing(async () => {
    const ids = bridge.selection();
    if (ids.length === 0) return notify("Pick the objects to delete: double-click each.", { key: "delete" });
    await drawn(api.remove(ids, live.version));
  });

  const undo = () => editing(() => drawn(api.undo()));
  const redo = () => editing(() => drawn(api.redo()));

  /** @param {Side} side */
  function addPoint(side) {
    if (store.state.session.read_only) return void editing(async () => {});
    details.open = true;
    const { position, id, isMouse } = bridge.pointer();
    const place = isMouse ? "under the pointer" : "at the centre of the view";
    if (id === null) return notify(`There is no object ${place}. Point at the object to split.`, { key: "split" });
    const problem = draft.add(side, { position, id });
    if (problem) notify(problem, { key: "split" });
    renderSplit();
    details.scrollIntoView({ block: "nearest" });
  }

  const preview = () => editing(async () => {
    verdict.textContent = "Looking for the best cut …";
    try {
      draft.showPreview(await api.splitPreview(draft.voxels("source"), draft.voxels("sink")));
    } finally {
      renderSplit();
    }
  });

  const split = () => editing(async () => {
    await drawn(api.split(draft.voxels("source"), draft.voxels("sink"), live.version));
    // The preview stays until the real labels are drawn under it.
    await live.reading;
    leaveSplit();
  });

  async function confirm() {
    if (draft.isEmpty) return;
    if (!draft.isReady) return notify("A split needs a point on each side.", { key: "split" });
    await (draft.preview === null ? preview() : split());
  }

  function leaveSplit() {
    if (!draft.isEmpty || draft.preview) draft.clear();
    details.open = false;
    renderSplit();
  }

  /** Pick the object under the pointer or at the centre, or put it back: for the keyboard. */
  function pickHere() {
    const { id } = bridge.pointer();
    if (id === null) return;
    const now = bridge.selection();
    bridge.select(now.includes(id) ? now.filter((other) => other !== id) : [...now, id]);
  }

  function renderSplit() {
    for (const side of /** @type {Side[]} */ (["source", "sink"])) {
      const { list } = groups[side];
      const points = draft.points[side].map(({ position }, index) => ({ index, label: voxelOf(position).reverse().join(", ") }));
      // The place in the list is part of the key, for removal counts from it.
      rows(list, points, ({ index, label }) => `${index}:${label}`, ({ index, label }) =>
        makeChip(label, "x, y, z", "Remove this point", () => {
          draft.remove(side, index);
          renderSplit();
        }));
    }
    const { preview } = draft;
    const total = preview?.voxels.reduce((a, b) => a + b, 0) ?? 0;
    const about = preview?.exact ? "" : "about ";
    if (preview) verdict.textContent = preview.voxels.map((count, i) => `${"AB"[i]}: ${about}${share(count, total)}`).join(" · ");
    else verdict.textContent = draft.isReady ? "Ready: look at the preview first." : "Put a point on each of the two parts.";
    const label = goButton.querySelector(".button-label");
    if (label) label.textContent = preview ? "Split" : "Preview";
    goButton.disabled = !draft.isReady;
  }

  /** @param {import("../types.js").State} state */
  function render({ picks: ids, session }) {
    hint.hidden = ids.length > 0;
    rows(picks, ids, (id) => id, (id) =>
      makeChip(shortId(id), `Object ${id}`, `Put object ${id} back`, () =>
        bridge.select(bridge.selection().filter((other) => other !== id))));
    [...picks.children].forEach((chip, index) => {
      if (chip instanceof HTMLElement) chip.style.setProperty("--chip", bridge.colour(ids[index] ?? "0"));
    });
    mergeButton.disabled = session.read_only || ids.length < 2;
    removeButton.disabled = session.read_only || ids.length === 0;
    clearButton.disabled = ids.length === 0;
    undoButton.disabled = redoButton.disabled = session.read_only;
    details.classList.toggle("is-locked", session.read_only);
    renderSplit();
  }

  return {
    actions: {
      merge,
      delete: remove,
      undo,
      redo,
      confirm,
      cancel: leaveSplit,
      "pick-here": pickHere,
      "clear-picks": () => bridge.select([]),
      "split-source": () => addPoint("source"),
      "split-sink": () => addPoint("sink"),
    },
    render,
  };
}
