/** Builds elements: text is always text, never markup. */

/**
 * @typedef {object} Props
 * @property {string} [class]
 * @property {string} [text]
 * @property {string} [title]
 * @property {{[name: string]: string | number | boolean | null}} [attributes] false, null: absent
 * @property {{[event: string]: (event: any) => void}} [on]
 */

/**
 * Make an element with its class, text, attributes, listeners and children.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...(Node | string | null)} children null ones are left out
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  if (props.class) element.className = props.class;
  if (props.text !== undefined) element.textContent = props.text;
  if (props.title) element.title = props.title;
  for (const [name, value] of Object.entries(props.attributes ?? {})) {
    if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : `${value}`);
  }
  for (const [event, listener] of Object.entries(props.on ?? {})) {
    element.addEventListener(event, listener);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Shapes of the icons, on a grid of 24 × 24, drawn with a line of the text's colour. */
const ICONS = {
  slice: "M4 8l8-4 8 4-8 4zM4 12l8 4 8-4M4 16l8 4 8-4",
  box: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  orthoplane: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 3v18M4 7.5l16 9M20 7.5l-16 9",
  merge: "M6 4v4c0 4 6 4 6 8v4M18 4v4c0 4-6 4-6 8",
  split: "M12 20v-4c0-4-6-4-6-8V4M12 16c0-4 6-4 6-8V4",
  undo: "M9 14L4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "M15 14l5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  segment: "M12 3l1.8 5.2L19 10l-5.2 1.8L12 17l-1.8-5.2L5 10l5.2-1.8zM18 16l.8 2.2L21 19l-2.2.8L18 22",
  revert: "M4 12a8 8 0 1 0 3-6.2M4 4v5h5M12 8v4l3 2",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  share: "M12 15V4M8 7l4-4 4 4M5 12v7h14v-7",
  copy: "M9 9h10v11H9zM6 15H5V4h10v2",
  check: "M5 12l5 5 9-10",
  close: "M6 6l12 12M18 6L6 18",
  help: "M9 9a3 3 0 1 1 4 2.8c-.7.4-1 .9-1 1.7M12 17v.1",
  panel: "M4 5h16v14H4zM10 5v14",
  sliders: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  theme: "M12 4v16a8 8 0 0 0 0-16zM12 4a8 8 0 0 0 0 16",
  lock: "M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3",
};

/** @typedef {keyof typeof ICONS} IconName */

/** @param {IconName} name @returns {SVGSVGElement} hidden from screen readers */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * Make a button with an icon, a label and the key that does the same.
 *
 * @param {{label: string, icon?: IconName, key?: string, kind?: string, title?: string,
 *   onClick: () => void}} options
 */
export function button({ label, icon: name, key, kind = "", title, onClick }) {
  return h(
    "button",
    { class: `button ${kind}`, title: title ?? "", attributes: { type: "button" }, on: { click: onClick } },
    name ? icon(name) : null,
    h("span", { class: "button-label", text: label }),
    key ? h("kbd", { text: key }) : null,
  );
}

/** @param {{label: string, icon: IconName, onClick: () => void}} options only an icon shows */
export function iconButton({ label, icon: name, onClick }) {
  return h(
    "button",
    {
      class: "icon-button",
      title: label,
      attributes: { type: "button", "aria-label": label },
      on: { click: onClick },
    },
    icon(name),
  );
}

/**
 * Show one row per item and keep the rows that stay, with their focus.
 *
 * @template Item
 * @param {HTMLElement} parent
 * @param {Item[]} items
 * @param {(item: Item) => string} keyOf
 * @param {(item: Item) => HTMLElement} make
 */
export function rows(parent, items, keyOf, make) {
  const old = new Map([...parent.children].map((child) => [child.getAttribute("data-key"), child]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const row = old.get(key) ?? make(item);
    row.setAttribute("data-key", key);
    return row;
  });
  // Only what moves is moved: a node that is taken out loses the focus.
  wanted.forEach((row, index) => {
    if (parent.children[index] !== row) parent.insertBefore(row, parent.children[index] ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild?.remove();
}
