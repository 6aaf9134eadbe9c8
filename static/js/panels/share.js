/** One click makes a short link to exactly what is on screen, copies it and shows it. */

import { button, h, iconButton } from "../dom.js";
import { WORKING_LAYERS } from "./split.js";

/** @typedef {import("../types.js").ViewState} ViewState */

/** @param {ViewState} state @returns {ViewState} without layers that belong to an unfinished split */
function withoutWorkingLayers(state) {
  const layers = /** @type {{name?: string}[]} */ (state["layers"] ?? []);
  const kept = layers.filter(({ name }) => !WORKING_LAYERS.includes(name ?? ""));
  return { ...state, layers: /** @type {any} */ (kept) };
}

/** @param {HTMLInputElement} field @returns {Promise<boolean>} whether the clipboard took it */
async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    // Without a secure context there is only the old way, from a selection.
    field.select();
    return document.execCommand("copy");
  }
}

/**
 * @param {HTMLElement} root
 * @param {import("../types.js").Context} context
 * @returns {import("../types.js").PanelPart}
 */
export function mountShare(root, context) {
  const { api, bridge, live, store, notify } = context;
  const link = h("input", {
    class: "link",
    attributes: { readonly: true, "aria-label": "Link to this view", spellcheck: false },
    on: { focus: () => link.select() },
  });
  const again = iconButton({ label: "Copy the link", icon: "copy", onClick: () => void copyLink() });
  const row = h("div", { class: "link-row", attributes: { hidden: true } }, link, again);
  const make = button({
    label: "Share this view",
    icon: "share",
    key: "K",
    kind: "wide",
    title: "Makes a link that shows this place and these labels, for ever",
    onClick: () => void share(),
  });
  root.append(h("footer", { class: "foot" }, row, make));

  async function copyLink() {
    const isCopied = await copy(link);
    notify(isCopied ? "Link copied." : "Copy the link from the panel.", { key: "share" });
  }

  async function share() {
    make.disabled = true;
    const version = store.state.session.pinned_version ?? live.version;
    try {
      const { url } = await api.share(withoutWorkingLayers(bridge.viewState()), version);
      link.value = new URL(url, location.href).href;
      row.hidden = false;
      await copyLink();
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error), { error: true });
    } finally {
      make.disabled = false;
    }
  }

  return { actions: { share }, render() {} };
}
