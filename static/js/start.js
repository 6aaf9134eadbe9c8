/** The start page: finds published datasets while one types, and opens one with a click or a key. */

document.documentElement.dataset["theme"] = localStorage.getItem("mitoglance-theme") ?? "auto";

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`#${id} is missing`);
  return found;
}

const search = element("search", HTMLInputElement);
const organism = element("organism", HTMLSelectElement);
const labelled = element("labelled", HTMLInputElement);
const found = element("found", HTMLElement);
const nothing = element("nothing", HTMLElement);
const trouble = element("trouble", HTMLElement);
const cards = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".dataset"))];
const buttons = [.../** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-dataset]"))];
/** Where the server lives on this origin: "" or "/some/path". */
const prefix = location.pathname.replace(/\/$/, "");

/** Show the cards that have every word, the organism and, if wanted, labels. */
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    const text = card.dataset.words ?? "";
    const fits =
      words.every((word) => text.includes(word)) &&
      (!organism.value || card.dataset.organism === organism.value) &&
      (!labelled.checked || card.dataset.labelled !== undefined);
    card.hidden = !fits;
    count += Number(fits);
  }
  found.textContent = count === 1 ? "1 dataset" : `${count} datasets`;
  nothing.hidden = count > 0;
}

/** @param {HTMLButtonElement} button register its dataset (or find it registered), then go there */
async function open(button) {
  const { dataset: name, view } = button.dataset;
  const card = button.closest(".dataset");
  trouble.hidden = true;
  for (const other of buttons) other.disabled = true;
  card?.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`${prefix}/api/v1/volumes`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ catalogue: name }),
    });
    const document_ = await answer.json().catch(() => null);
    if (!answer.ok) throw new Error(document_?.error?.message ?? `The server answered ${answer.status}.`);
    const query = view ? `?view=${encodeURIComponent(view)}` : "";
    location.assign(`${prefix}/d/${encodeURIComponent(document_.name)}${query}`);
  } catch (error) {
    const offline = "The server cannot be reached. Check the connection and try again.";
    const message = error instanceof TypeError ? offline : error instanceof Error ? error.message : `${error}`;
    trouble.textContent = `${name} could not be opened. ${message}`;
    trouble.hidden = false;
    trouble.scrollIntoView({ block: "nearest" });
    release();
    button.focus();
  }
}

/** Let every dataset be opened (again). */
function release() {
  for (const button of buttons) button.disabled = false;
  for (const card of cards) card.removeAttribute("aria-busy");
}

for (const control of [search, organism, labelled]) control.addEventListener("input", filter);
for (const button of buttons) button.addEventListener("click", () => open(button));
search.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  // What is typed leads to one card: Enter opens it.
  const shown = cards.filter((card) => !card.hidden);
  const target = shown.length === 1 ? shown[0]?.querySelector(".open") : null;
  if (target instanceof HTMLElement) target.click();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
  search.select();
});
for (const picture of document.querySelectorAll(".thumbnail img")) {
  // The mark behind it is seen in its place.
  const hide = () => picture.classList.add("is-missing");
  picture.addEventListener("error", hide);
  if (picture instanceof HTMLImageElement && picture.complete && !picture.naturalWidth && picture.currentSrc) hide();
}
// Come back to by the browser's own button: as it was when it was left, but for the waiting.
addEventListener("pageshow", () => {
  release();
  filter();
});
