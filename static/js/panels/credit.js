/** Where a published volume comes from: title, licence, what to cite, and what is not as published. */

import { h } from "../dom.js";

/** @param {string | null} address @param {string} text @returns {Node} */
function link(address, text) {
  if (!address) return document.createTextNode(text);
  return h("a", { text, attributes: { href: address, target: "_blank", rel: "noopener noreferrer" } });
}

/**
 * @param {import("../types.js").Published | null} published
 * @returns {HTMLElement | null} nothing for a volume of one's own
 */
export function credit(published) {
  if (!published) return null;
  const line = h("p", { class: "facts credit-line" }, published.title ?? published.dataset);
  if (published.licence) line.append(" · ", link(published.terms, published.licence));
  for (const [number, doi] of published.doi.entries()) {
    const text = published.doi.length > 1 ? `cite ${number + 1}` : "cite";
    line.append(" · ", link(`https://doi.org/${doi}`, text));
  }
  const { notes } = published;
  if (notes.length === 0) return line;
  const summary = notes.length === 1 ? "1 note on what was published" : `${notes.length} notes on what was published`;
  const list = notes.map((note) => h("p", { class: "hint", text: note }));
  return h("div", {}, line, h("details", { class: "notes" }, h("summary", { text: summary }), ...list));
}
