/** The form of parameters: folded, with what differs from the defaults always in sight. */

import { button, h } from "../dom.js";
import { CONTRAST, VOXEL_SIZE, chosenBefore, differing, optionsOf, problemOf, settingGroups, shortText, usualFor } from "../settings.js";

/**
 * @typedef {import("../types.js").Setting} Setting
 * @typedef {import("../types.js").SettingValue} SettingValue
 * @typedef {import("../types.js").SettingValues} SettingValues
 * @typedef {{setting: Setting, row: HTMLElement, input: HTMLInputElement | HTMLSelectElement,
 *   say: (problem: string | null) => void}} Field
 */

/** @param {Setting} setting @returns {HTMLInputElement | HTMLSelectElement} */
function makeInput({ kind, low, high, step, options }) {
  if (kind === "choice") {
    return h("select", {}, ...options.map(([value, text]) => h("option", { text, attributes: { value } })));
  }
  if (kind === "switch") return h("input", { attributes: { type: "checkbox" } });
  // The arrow keys count from `min`, and shall not go 0.1, 1.1, 2.1.
  const by = step ?? 1;
  const min = kind === "integer" ? low : Number((Math.ceil((low ?? 0) / by - 1e-9) * by).toFixed(6));
  const input = h("input", { attributes: { type: "number", min, max: high, step: by, autocomplete: "off" } });
  // Scrolling the panel must not turn a number that happens to have the focus.
  input.addEventListener("wheel", () => input.blur(), { passive: true });
  return input;
}

/** @param {Setting} setting @param {() => void} onInput @returns {Field} */
function makeField(setting, onInput) {
  const { name, label, help, unit, kind } = setting;
  const input = makeInput(setting);
  input.id = `setting-${name}`;
  input.setAttribute("aria-description", help);
  input.addEventListener("input", onInput);
  const problem = h("p", { class: "setting-problem", attributes: { id: `${input.id}-problem`, role: "alert" } });
  const row = h("div", { class: `setting is-${kind}`, title: help },
    h("label", { text: label, attributes: { for: input.id } }),
    input,
    unit ? h("span", { class: "unit", text: unit }) : null,
    problem);
  return {
    setting,
    row,
    input,
    say(text) {
      problem.textContent = text ?? "";
      problem.hidden = text === null;
      if (text === null) input.removeAttribute("aria-describedby");
      else input.setAttribute("aria-describedby", problem.id);
      input.setAttribute("aria-invalid", String(text !== null));
    },
  };
}

/** @param {Field} field @returns {SettingValue} what stands in it; an empty one means the default */
function read({ setting, input }) {
  if (input instanceof HTMLSelectElement) return input.value;
  if (setting.kind === "switch") return input.checked;
  if (input.validity.badInput) return NaN;
  return input.value === "" ? setting.default : Number(input.value);
}

/** @param {Field} field @param {SettingValue} value */
function write({ setting, input }, value) {
  if (setting.kind === "switch" && input instanceof HTMLInputElement) input.checked = value === true;
  else input.value = value === null ? "" : String(value);
}

/** @param {import("../types.js").GreyRange | null} range @returns {string | null} what is wrong */
function rangeProblem(range) {
  if (range === null) return "The image layer has no contrast control. Choose the volume's own.";
  return range.low === range.high ? "Black and white are the same grey. Show some contrast first." : null;
}

/** @param {import("../types.js").GreyRange} range */
function rangeText({ low, high }) {
  const [black, white] = [low, high].map((grey) => Number(grey.toPrecision(4)).toLocaleString("en"));
  return `black ${black}, white ${white}${low > high ? ": inverted" : ""}`;
}

/**
 * @param {import("../types.js").Context} context
 * @param {() => void} onChange called when something else would be sent
 */
export function makeParameters({ api, bridge, store }, onChange) {
  const { session } = store.state;
  const keptAs = `mitoglance-parameters:${api.prefix}/${session.volume}`;
  const groups = settingGroups(session);
  const everyModels = groups.flatMap(([, members]) => members);
  /** What somebody chose, whichever model was chosen then. */
  const chosen = chosenBefore(everyModels, localStorage.getItem(keptAs));
  /** With the chosen model's own defaults. */
  let settings = everyModels;
  /** @type {SettingValues} */
  let values = {};
  /** @type {Map<string, Field>} */
  const fields = new Map(settings.map((setting) => [setting.name, makeField(setting, () => take(setting.name))]));
  let seenRange = "";
  /** @type {string | undefined} */
  let shownModel;
  const shownRange = h("p", { class: "setting-note", attributes: { hidden: true } });
  const chips = h("span", { class: "chips" });
  const reset = button({ label: "Reset", kind: "small quiet", title: "Every parameter as it was at first", onClick: () => restore() });
  const body = h("fieldset", { class: "plain" });
  for (const [title, members] of groups) {
    body.append(h("h3", { text: title }), ...members.flatMap(({ name }) => {
      const row = fields.get(name)?.row ?? "";
      return name === CONTRAST ? [row, shownRange] : [row];
    }));
  }
  const details = h("details", {}, h("summary", {}, h("span", { text: "Parameters" }), chips), body);
  const element = h("div", { class: "parameters" }, details, reset);

  /** @returns {[field: Field, problem: string][]} every field whose value cannot be sent, and why */
  function problems() {
    return [...fields.values()].flatMap((field) => {
      const { name } = field.setting;
      const found = problemOf(field.setting, read(field))
        ?? (name === CONTRAST && values[CONTRAST] === "shown" ? rangeProblem(bridge.shownRange(session.image_layer)) : null);
      return found === null ? [] : [/** @type {[Field, string]} */ ([field, found])];
    });
  }

  /** Show what is wrong, what differs, and what the image layer shows. */
  function draw() {
    const wrong = new Map(problems().map(([field, problem]) => [field.setting.name, problem]));
    const changed = differing(settings, values);
    for (const [name, field] of fields) {
      field.say(wrong.get(name) ?? null);
      field.row.classList.toggle("is-changed", name in changed || wrong.has(name));
    }
    const texts = settings.flatMap((setting) => {
      if (wrong.has(setting.name)) return [{ text: `${setting.label.toLowerCase()}: not valid`, kind: "is-error" }];
      if (!(setting.name in changed)) return [];
      const value = changed[setting.name] ?? null;
      return [{ text: shortText(setting, value), kind: value === "replace-all" ? "is-warning" : "" }];
    });
    chips.replaceChildren(...texts.map(({ text, kind }) => h("span", { class: `chip plain ${kind}`, text })));
    reset.hidden = texts.length === 0;
    drawRange();
  }

  function drawRange() {
    const range = values[CONTRAST] === "shown" ? bridge.shownRange(session.image_layer) : null;
    shownRange.hidden = range === null || rangeProblem(range) !== null;
    if (range !== null) shownRange.textContent = rangeText(range);
  }

  /** @param {string} name take what stands in a field, unless it is wrong */
  function take(name) {
    const field = fields.get(name);
    if (field === undefined) return;
    const value = read(field);
    if (problemOf(field.setting, value) === null) {
      // What the model has by itself is no choice.
      if (value === field.setting.default) delete chosen[name];
      else chosen[name] = value;
      weigh();
      keep();
    }
    draw();
    onChange();
  }

  function weigh() {
    values = Object.fromEntries(settings.map(({ name, default: usual }) => [name, name in chosen ? chosen[name] ?? null : usual]));
  }

  function keep() {
    if (Object.keys(chosen).length === 0) localStorage.removeItem(keptAs);
    else localStorage.setItem(keptAs, JSON.stringify(chosen));
  }

  function fill() {
    for (const [name, field] of fields) write(field, values[name] ?? null);
    draw();
  }

  function restore() {
    for (const name of Object.keys(chosen)) delete chosen[name];
    weigh();
    keep();
    fill();
    onChange();
    details.querySelector("summary")?.focus();
  }

  // An emptied field means the default, and says so when it is left.
  body.addEventListener("change", () => {
    for (const field of fields.values()) {
      if (field.input.value === "" && problemOf(field.setting, read(field)) === null) write(field, values[field.setting.name] ?? null);
    }
  });
  bridge.onView(() => {
    const range = values[CONTRAST] === "shown" ? JSON.stringify(bridge.shownRange(session.image_layer)) : "";
    if (range === seenRange) return;
    seenRange = range;
    draw();
  });
  weigh();
  fill();

  return {
    element,
    /** @returns {import("../types.js").SegmentOptions | null} null where something is wrong, which is shown */
    options() {
      draw();
      const [wrong] = problems();
      if (wrong === undefined) return optionsOf(settings, values, bridge.shownRange(session.image_layer));
      details.open = true;
      wrong[0].input.focus();
      wrong[0].row.scrollIntoView({ block: "center" });
      return null;
    },
    /** @returns {import("../types.js").SegmentOptions | null} null where something is wrong; nothing is shown */
    quietly() {
      return problems().length > 0 ? null : optionsOf(settings, values, bridge.shownRange(session.image_layer));
    },
    /** @returns {{voxel_size_nm?: number}} what decides which level is read */
    readAs() {
      const nm = values[VOXEL_SIZE];
      return typeof nm === "number" ? { voxel_size_nm: nm } : {};
    },
    /** @param {import("../types.js").ModelInfo | null} model the chosen one: its voxel size, its usual parameters */
    setModel(model) {
      if (model?.name === shownModel) return;
      shownModel = model?.name;
      const nm = model?.voxel_size_nm ?? null;
      fields.get(VOXEL_SIZE)?.input.setAttribute("placeholder", nm === null ? "" : String(nm));
      settings = usualFor(everyModels, model?.parameters ?? {});
      for (const setting of settings) {
        const field = fields.get(setting.name);
        if (field !== undefined) field.setting = setting;
      }
      weigh();
      fill();
    },
    /** @param {boolean} isLocked */
    lock(isLocked) {
      body.disabled = reset.disabled = isLocked;
    },
  };
}
