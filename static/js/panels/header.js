/** Top of the panel: what is open, who you are, theme, help, and the read-only banner. */

import { button, h, icon, iconButton } from "../dom.js";
import { credit } from "./credit.js";

/** @typedef {import("../types.js").State} State */

const THEMES = ["auto", "light", "dark"];

/** @param {string} theme */
function applyTheme(theme) {
  document.documentElement.dataset["theme"] = theme;
}

function makeThemeButton() {
  const kept = localStorage.getItem("mitoglance-theme") ?? "auto";
  applyTheme(kept);
  const control = iconButton({
    label: `Theme: ${kept}`,
    icon: "theme",
    onClick() {
      const now = document.documentElement.dataset["theme"] ?? "auto";
      const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] ?? "auto";
      applyTheme(next);
      localStorage.setItem("mitoglance-theme", next);
      control.title = `Theme: ${next}`;
      control.setAttribute("aria-label", control.title);
    },
  });
  return control;
}

/** @param {import("../types.js").Context} context */
function makeUserField({ api, store, notify }) {
  const input = h("input", {
    class: "user-name",
    attributes: { "aria-label": "Your name, written into your edits", maxlength: 64, spellcheck: false },
  });
  const keep = () => {
    const name = input.value.trim();
    if (name === "" || name === api.user) {
      input.value = api.user;
      return;
    }
    api.user = name;
    const base = api.prefix || "/";
    document.cookie = `mitoglance_user=${encodeURIComponent(name)}; path=${base}; max-age=31536000; samesite=lax`;
    store.set({ session: { ...store.state.session, user: name } });
    notify(`Your edits are now signed “${name}”.`);
  };
  input.value = api.user;
  input.addEventListener("change", keep);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") input.blur();
  });
  return h("label", { class: "user" }, h("span", { text: "as" }), input, icon("edit"));
}

/** @param {State["session"]} session */
function describe({ bounds, voxel_size }) {
  const [z, y, x] = bounds.shape;
  const [dz, dy, dx] = voxel_size.map((edge) => Number(edge.toPrecision(4)));
  const edge = dz === dy && dy === dx ? `${dx}` : `${dx} × ${dy} × ${dz}`;
  return `${x} × ${y} × ${z} voxels of ${edge} nm`;
}

/** @param {HTMLElement} root */
function togglePanel(root) {
  const app = root.closest("#app");
  const isHidden = app?.classList.toggle("is-collapsed") ?? false;
  localStorage.setItem("mitoglance-panel", isHidden ? "closed" : "open");
  // The viewer measures its panels when the window says that it changed.
  dispatchEvent(new Event("resize"));
}

/**
 * @param {HTMLElement} root the side panel
 * @param {import("../types.js").Context} context
 * @param {() => void} showHelp
 * @returns {import("../types.js").PanelPart}
 */
export function mountHeader(root, context, showHelp) {
  const version = h("span", { class: "badge" });
  const collapse = iconButton({ label: "Hide the panel", icon: "panel", onClick: () => togglePanel(root) });
  const expand = iconButton({ label: "Show the panel", icon: "panel", onClick: () => togglePanel(root) });
  expand.classList.add("expand");
  root.parentElement?.append(expand);
  const { session } = context.store.state;
  const setContrast = () => context.bridge.toggleControls(session.image_layer);
  const isAssumed = session.voxel_size_is_assumed;
  const note = "The file names no voxel size; 10 nm is assumed. Give --voxel-size when you open it.";
  const bar = h(
    "div",
    { class: "bar" },
    h("a", { class: "brand", title: "All volumes", attributes: { href: `${context.api.prefix}/` } },
      h("span", { class: "mark", attributes: { "aria-hidden": true } }), "Mitoglance"),
    h("span", { class: "spring" }),
    iconButton({ label: "Contrast of the image (C)", icon: "sliders", onClick: setContrast }),
    makeThemeButton(),
    iconButton({ label: "Keys and help (?)", icon: "help", onClick: showHelp }),
    collapse,
  );
  const offline = h("p", {
    class: "offline",
    text: "Connection lost. Trying again; nothing you did is lost.",
    attributes: { role: "status", hidden: true },
  });
  const title = h("div", { class: "title" }, h("h1", { text: session.volume, title: session.volume }), version);
  const facts = h("p", { class: "facts", text: describe(session) });
  if (isAssumed) facts.append(" ", h("span", { class: "assumed", text: "assumed", title: note }));
  const bannerText = h("span");
  const banner = h(
    "div",
    { class: "banner", attributes: { role: "status", hidden: true } },
    icon("lock"),
    bannerText,
    button({ label: "Edit from here", kind: "small", onClick: () => void leave() }),
  );
  const leave = () => context.live.show(null).catch((error) => context.notify(error.message, { error: true }));
  root.append(
    h("header", { class: "head" }, bar, title, facts, credit(session.published), makeUserField(context), offline, banner),
  );
  if (localStorage.getItem("mitoglance-panel") === "closed") togglePanel(root);

  return {
    actions: { contrast: setContrast },
    render({ session, head, online }) {
      const shown = session.pinned_version ?? head;
      const isLive = session.pinned_version === null;
      version.textContent = isLive ? `live · version ${shown}` : `version ${shown}`;
      version.classList.toggle("is-live", isLive && online);
      offline.hidden = online;
      banner.hidden = !session.read_only;
      bannerText.textContent = `Version ${shown} · read-only`;
    },
  };
}
