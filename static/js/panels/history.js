/** The list of operations: who did what, when; a click shows that version. */

import { button, h, icon, iconButton, rows } from "../dom.js";

/**
 * @typedef {import("../types.js").Operation} Operation
 * @typedef {import("../types.js").State} State
 */

const MINUTE = 60;
const UNITS = /** @type {const} */ ([["day", 86400], ["hour", 3600], ["minute", MINUTE]]);
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** @param {string} time ISO 8601, UTC */
export function relativeTime(time) {
  const seconds = (Date.parse(time) - Date.now()) / 1000;
  for (const [unit, length] of UNITS) {
    if (-seconds >= length) return relative.format(Math.round(seconds / length), unit);
  }
  return "just now";
}

/** @param {number} count */
const objects = (count) => `${count} ${count === 1 ? "object" : "objects"}`;

/** @type {{[kind: string]: string}} */
const NOUNS = {
  segment: "a segmentation", import: "an import", merge: "a merge", split: "a split", revert: "a return",
  cleave: "a split", delete: "a deletion", paint: "painting", erase: "erasing", morph: "a change of shape",
  relabel: "a separation", filter: "a clean-up", "merge-branch": "the merge of a branch",
};

/** @type {{[mode: string]: string}} */
const REGIONS = { slice: "a slice", stack: "a box", orthoplane: "a box in three planes" };

/** @param {Operation["provenance"]} provenance */
function region({ mode, sections, polygon, purpose }) {
  const what = Array.isArray(sections) ? `${sections.length} slices` : REGIONS[String(mode)] ?? "a region";
  return what + (polygon ? " in a polygon" : "") + (purpose === "follow" ? " while following" : "");
}

/** @type {{[operation: string]: string}} */
const SHAPED = {
  erode: "eroded an object", dilate: "dilated an object", open: "opened an object",
  close: "closed an object", fill_holes: "filled holes of an object",
};

/** @type {{[kind: string]: (operation: Operation, undone: string) => string}} */
const SENTENCES = {
  segment: ({ added_roots, provenance }) =>
    `segmented ${region(provenance)}, ${objects(added_roots.length)}`,
  import: ({ added_roots }) => `imported ${objects(added_roots.length)}`,
  merge: ({ merges }) => `merged ${objects(merges[0]?.length ?? 2)}`,
  split: ({ splits }) => `split an object into ${splits[0]?.into.length ?? 2}`,
  undo: (_operation, undone) => `undid ${undone}`,
  redo: (_operation, undone) => `redid ${undone}`,
  cleave: ({ splits }) => `split an object into ${splits[0]?.into.length ?? 2}`,
  delete: ({ removed_roots }) => `deleted ${objects(removed_roots.length)}`,
  paint: () => "painted",
  erase: () => "erased",
  morph: ({ provenance }) => SHAPED[String(provenance["operation"])] ?? "changed an object's shape",
  relabel: ({ splits }) => `separated ${objects(splits[0]?.into.length ?? 2)}`,
  filter: ({ removed_roots }) => `removed ${removed_roots.length} small ${removed_roots.length === 1 ? "object" : "objects"}`,
  "merge-branch": ({ provenance }) => `merged branch ${provenance["branch"] ?? ""}`,
  revert: ({ provenance }) => `went back to version ${provenance["version"] ?? "before"}`,
};

/**
 * Say in a sentence who did what.
 *
 * @param {Operation} operation
 * @param {Map<number, Operation>} byId the other operations, to name what an undo undid
 * @param {string} user who reads it
 */
export function sentence(operation, byId, user) {
  const who = operation.user === user ? "You" : operation.user;
  let target = byId.get(operation.undoes ?? -1);
  // A redo takes an undo back: what it brings again is what that had undone.
  while (target?.kind === "undo" || target?.kind === "redo") target = byId.get(target.undoes ?? -1);
  const undone = NOUNS[target?.kind ?? ""] ?? "an edit";
  const what = SENTENCES[operation.kind]?.(operation, undone) ?? operation.kind;
  return `${who} ${what}`;
}

/** @param {string} kind @returns {import("../dom.js").IconName} */
function iconOf(kind) {
  /** @type {{[kind: string]: import("../dom.js").IconName}} */
  const names = { segment: "segment", merge: "merge", split: "split", cleave: "split", undo: "undo", redo: "redo", delete: "close" };
  return names[kind] ?? "revert";
}

/**
 * @param {HTMLElement} root
 * @param {import("../types.js").Context} context
 * @returns {import("../types.js").PanelPart}
 */
export function mountHistory(root, context) {
  const { api, live, notify } = context;
  const { editing, drawn } = context.edits;
  const list = h("ol", { class: "history", attributes: { "aria-label": "Operations, newest first" } });
  const hint = h("p", { class: "hint", text: "Nothing here yet. Segment a slice to begin." });
  const back = button({
    label: "Back to latest",
    kind: "small",
    onClick: () => void show(null),
  });
  root.append(
    h("section", { class: "card grows", attributes: { "aria-labelledby": "history-title" } },
      h("div", { class: "card-head" },
        h("h2", { text: "History", attributes: { id: "history-title" } }), back),
      hint, list),
  );

  /** @param {number | null} version */
  async function show(version) {
    list.setAttribute("aria-busy", "true");
    try {
      await live.show(version);
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error), { error: true });
    } finally {
      list.removeAttribute("aria-busy");
    }
  }

  /** @param {Operation} operation */
  function makeRow(operation) {
    const { operation_id: id, kind, time } = operation;
    const entry = h(
      "button",
      { class: "entry", attributes: { type: "button" }, on: { click: () => void show(id) } },
      icon(iconOf(kind)),
      h("span", { class: "entry-text" }),
      h("time", { title: `${time} (UTC), version ${id}`, attributes: { datetime: time } }),
    );
    // What an undo took away is brought back by a redo of it.
    const isUndo = kind === "undo";
    const back = iconButton({
      label: isUndo ? "Bring back what this undid" : "Undo this",
      icon: isUndo ? "redo" : "undo",
      onClick: () => void editing(() => drawn(isUndo ? api.redo(id) : api.undo(id))),
    });
    return h("li", { class: "history-row" }, entry, back);
  }

  /** @param {State} state */
  function render({ operations, session, head }) {
    const shown = session.pinned_version ?? head;
    back.hidden = session.pinned_version === null;
    hint.hidden = operations.length > 0;
    rows(list, operations, ({ operation_id }) => `${operation_id}`, makeRow);
    const byId = new Map(operations.map((operation) => [operation.operation_id, operation]));
    operations.forEach((operation, index) => {
      const row = list.children[index];
      const entry = row?.firstElementChild;
      const text = entry?.querySelector(".entry-text");
      const time = entry?.querySelector("time");
      if (!row || !entry || !text || !time) return;
      text.textContent = sentence(operation, byId, api.user);
      time.textContent = relativeTime(operation.time);
      const isShown = operation.operation_id === shown;
      row.classList.toggle("is-undone", operation.undone_by !== null);
      // What an operation did can be taken back from here, whoever made it.
      const act = row.lastElementChild;
      if (act instanceof HTMLButtonElement) act.disabled = session.read_only || operation.undone_by !== null;
      row.classList.toggle("is-later", operation.operation_id > shown);
      if (isShown) entry.setAttribute("aria-current", "true");
      else entry.removeAttribute("aria-current");
    });
  }

  setInterval(() => render(context.store.state), MINUTE * 1000);
  return {
    actions: {
      history() {
        const current = list.querySelector("[aria-current]") ?? list.querySelector("button");
        if (current instanceof HTMLElement) current.focus();
      },
    },
    render,
  };
}
