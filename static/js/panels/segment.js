/** Segment what is on screen: the plane under view or the visible box, with progress and cancel. */

import { ApiError } from "../api.js";
import { button, h, icon } from "../dom.js";

/**
 * @typedef {import("../types.js").SegmentMode} SegmentMode
 * @typedef {import("../types.js").Region} Region
 * @typedef {import("../types.js").Job} Job
 */

const JOB_POLL_MS = 150;
const FIRST_JOB_POLL_MS = 60;
const FIRST_MS = 1500;
const QUIET_MS = 500;
const REGION_DELAY_MS = 250;
const MEASURE = "mitoglance:segment";

/** @param {number} ms @returns {Promise<void>} */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {Region} region @param {SegmentMode} mode @returns {[string, string]} size, and detail */
function describeRegion({ roi, plane, voxel_size, fits }, mode) {
  const [z, y, x] = roi.shape;
  const nm = Number(Math.min(...voxel_size).toPrecision(3));
  if (mode === "box") return [`${x} × ${y} × ${z}`, `${nm} nm · ${fits ? "fits" : "too large"}`];
  const sides = plane === "xz" ? [x, z] : plane === "yz" ? [z, y] : [x, y];
  return [`${sides.join(" × ")} px`, `${plane} · ${nm} nm · ${fits ? "fits" : "too large"}`];
}

/** @param {SegmentMode} mode @param {() => void} onClick */
function makeModeButton(mode, onClick) {
  const size = h("span", { class: "tile-size", text: "…" });
  const detail = h("span", { class: "tile-size", text: "…" });
  const isSlice = mode === "slice";
  const tile = h(
    "button",
    { class: "tile", attributes: { type: "button" }, on: { click: onClick } },
    h("span", { class: "tile-head" }, icon(isSlice ? "slice" : "box"),
      h("span", { text: isSlice ? "Slice" : "Box" }), h("kbd", { text: isSlice ? "G" : "⇧G" })),
    size,
    detail,
  );
  return {
    tile,
    /** @param {[string, string]} texts @param {string} title @param {boolean} isTooLarge */
    show([first, second], title, isTooLarge) {
      size.textContent = first;
      detail.textContent = second;
      tile.title = title;
      tile.classList.toggle("is-too-large", isTooLarge);
    },
  };
}

/** @param {import("../types.js").Context} context */
function makeModelChoice({ store }) {
  const { models } = store.state.session;
  const select = h("select", { attributes: { "aria-label": "Model" } });
  for (const { name, description, is_default } of models) {
    const option = h("option", { text: name, title: description, attributes: { value: name } });
    option.selected = is_default;
    select.append(option);
  }
  const explain = () => {
    select.title = models.find(({ name }) => name === select.value)?.description ?? "";
  };
  select.addEventListener("change", explain);
  explain();
  return select;
}

/** The line that shows progress, a result, or what went wrong; its place is always there. */
function makeStatus(/** @type {() => void} */ onCancel) {
  const text = h("span", { class: "status-text" });
  const bar = h("progress", { attributes: { max: 1, value: 0, "aria-label": "Progress of the segmentation" } });
  const cancel = button({ label: "Cancel", kind: "small", key: "Esc", onClick: onCancel });
  const line = h("div", { class: "status", attributes: { "aria-live": "polite" } }, text, bar, cancel);
  return {
    line,
    /** @param {string} message @param {{progress?: number | null, error?: boolean}} [how] */
    show(message, { progress = null, error = false } = {}) {
      text.textContent = message;
      bar.hidden = cancel.hidden = progress === null;
      if (progress !== null) bar.value = progress;
      line.classList.toggle("is-error", error);
      line.classList.toggle("is-running", progress !== null);
    },
  };
}

/**
 * @param {HTMLElement} root
 * @param {import("../types.js").Context} context
 * @returns {import("../types.js").PanelPart}
 */
export function mountSegment(root, context) {
  const { api, bridge, live, store, notify } = context;
  /** @type {string | null} */
  let running = null;
  let isAsking = false;
  const slice = makeModeButton("slice", () => void segment("slice"));
  const box = makeModeButton("box", () => void segment("box"));
  const model = makeModelChoice(context);
  const status = makeStatus(() => void cancel());
  root.append(
    h("section", { class: "card", attributes: { "aria-labelledby": "segment-title" } },
      h("h2", { text: "Segment what you see", attributes: { id: "segment-title" } }),
      h("div", { class: "tiles" }, slice.tile, box.tile),
      h("label", { class: "field" }, h("span", { text: "Model" }), model),
      status.line),
  );

  /** @param {SegmentMode} mode */
  async function segment(mode) {
    if (running !== null || isAsking) {
      notify("A segmentation is already running. Wait for it, or cancel it with Esc.", { key: "segment" });
      return;
    }
    if (store.state.session.read_only) {
      notify("This version is read-only. Choose “Edit from here” first.", { key: "read-only" });
      return;
    }
    performance.clearMarks(MEASURE);
    performance.mark(MEASURE);
    isAsking = true;
    status.show("Segmenting …", { progress: 0 });
    try {
      await follow(await api.segment(bridge.view(), mode, model.value));
    } catch (error) {
      fail(error);
    } finally {
      isAsking = false;
    }
  }

  /** @param {string} id follow a job to its end and show its labels */
  async function follow(id) {
    running = id;
    const began = Date.now();
    try {
      let job = await api.job(id);
      while (job.state === "queued" || job.state === "running") {
        const waiting = job.state === "queued" ? "Waiting for the worker" : "Segmenting";
        const age = Date.now() - began;
        // The steps of a short job would only flicker, and each costs a frame of the whole page.
        if (age > QUIET_MS) status.show(job.message || waiting, { progress: job.progress });
        // A slice takes less than a second, and a tenth of that would be seen.
        await pause(age < FIRST_MS ? FIRST_JOB_POLL_MS : JOB_POLL_MS);
        job = await api.job(id);
      }
      await finish(job);
    } finally {
      running = null;
    }
  }

  /** @param {Job} job */
  async function finish({ state, message, error, operation_id }) {
    if (state === "cancelled") return status.show("Cancelled. Nothing was changed.");
    if (state !== "done") throw new ApiError(error?.message ?? message, error?.kind ?? state, 500);
    await live.sync();
    if (performance.getEntriesByName(MEASURE, "mark").length > 0) performance.measure(MEASURE, MEASURE);
    const operation = store.state.operations.find((done) => done.operation_id === operation_id);
    const count = operation?.added_roots.length ?? null;
    status.show(count === null ? "Done." : `Done: ${count} ${count === 1 ? "object" : "objects"} found.`);
  }

  /** @param {unknown} error */
  function fail(error) {
    status.show(error instanceof Error ? error.message : String(error), { error: true });
  }

  async function cancel() {
    if (running === null) return;
    status.show("Cancelling …", { progress: 0 });
    await api.cancelJob(running).catch(fail);
  }

  /** Ask the server what each button would segment from here. */
  async function measure() {
    const view = bridge.view();
    if (document.hidden || view.panels.length === 0) return;
    /** @type {[SegmentMode, typeof slice][]} */
    const tiles = [["slice", slice], ["box", box]];
    await Promise.all(tiles.map(([mode, tile]) =>
      api.region(view, mode, model.value).then(
        (region) => tile.show(describeRegion(region, mode), region.message, !region.fits),
        (error) => tile.show(["–", error.status === 0 ? "offline" : "nothing in view"], error.message, false),
      )));
  }

  let timer = 0;
  bridge.onView(() => {
    clearTimeout(timer);
    timer = setTimeout(measure, REGION_DELAY_MS);
  });
  model.addEventListener("change", () => void measure());
  void measure();
  status.show("");
  void api.jobs().then((jobs) => {
    const mine = jobs.find((job) => job.user === api.user && ["queued", "running"].includes(job.state));
    if (mine && running === null) follow(mine.job_id).catch(fail);
  }).catch(() => {});

  return {
    actions: {
      "segment-slice": () => segment("slice"),
      "segment-box": () => segment("box"),
      cancel,
    },
    render({ session }) {
      slice.tile.disabled = box.tile.disabled = model.disabled = session.read_only;
    },
  };
}
