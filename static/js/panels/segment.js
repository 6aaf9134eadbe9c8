/** Segment what is on screen, or ask first what that would change, with progress and cancel. */

import { ApiError } from "../api.js";
import { button, h } from "../dom.js";
import { makeFollow } from "../follow.js";
import { makeFound } from "../found.js";
import { followJob } from "../jobs.js";
import { followOptions } from "../settings.js";
import { makeParameters } from "./parameters.js";
import { MODES, makeTiles } from "./tiles.js";
import { makeWhere } from "./where.js";

/**
 * @typedef {import("../types.js").SegmentMode} SegmentMode
 * @typedef {import("../types.js").SegmentRequest} SegmentRequest
 * @typedef {import("../types.js").Job} Job
 * @typedef {import("../types.js").Change} Change
 */

const QUIET_MS = 500;
const REGION_DELAY_MS = 250;
/** A source that takes longer is not waited for. */
const LOADED_WITHIN_MS = 1500;
const FOLLOW_HELP = "Segment the slice in view whenever it comes to rest, and get the next one ready. Only what is empty is filled, "
  + "unless “Existing labels” says otherwise; each step is one operation.";
const MEASURE = "mitoglance:segment";

/** The choice of the model, and a note beside it where the chosen one must not be used commercially.
 * @param {import("../types.js").Context} context */
function makeModelChoice({ store }) {
  const { models } = store.state.session;
  const select = h("select", { attributes: { "aria-label": "Model" } });
  const research = h("optgroup", { attributes: { label: "Research only" } });
  const note = h("span", { class: "model-note", text: "Research only, not for commercial use" });
  for (const { name, description, is_default, is_research_only } of models) {
    const option = h("option", { text: name, title: description, attributes: { value: name } });
    option.selected = is_default;
    (is_research_only ? research : select).append(option);
  }
  if (research.children.length > 0) select.append(research);
  const explain = () => {
    const chosen = models.find(({ name }) => name === select.value);
    select.title = chosen?.description ?? "";
    note.hidden = !chosen?.is_research_only;
  };
  select.addEventListener("change", explain);
  explain();
  return { select, note };
}

/** The line that shows progress, a result, an offer, or what went wrong; its place is always there. */
function makeStatus(/** @type {() => void} */ onCancel) {
  const text = h("span", { class: "status-text" });
  const bar = h("progress", { attributes: { max: 1, value: 0, "aria-label": "Progress of the segmentation" } });
  const cancel = button({ label: "Cancel", kind: "small", key: "Esc", onClick: onCancel });
  const accept = button({ label: "Do it", kind: "small primary", title: "Segment the same region in the same way, and keep it", onClick: () => offered?.() });
  const line = h("div", { class: "status", attributes: { "aria-live": "polite" } }, text, bar, cancel, accept);
  /** @type {(() => void) | null} */
  let offered = null;
  return {
    line,
    /** @param {string} message @param {{progress?: number | null, error?: boolean, offer?: (() => void) | null}} [how] */
    show(message, { progress = null, error = false, offer = null } = {}) {
      text.textContent = message;
      bar.hidden = cancel.hidden = progress === null;
      if (progress !== null) bar.value = progress;
      offered = offer;
      accept.hidden = offer === null;
      line.classList.toggle("is-error", error);
      line.classList.toggle("is-running", progress !== null);
    },
    /** What was offered is no longer what would be done. */
    withdraw() {
      if (offered !== null) this.show("");
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
  const found = makeFound(bridge, api.prefix);
  const { element: ways, tiles } = makeTiles((mode, isRehearsal) => void segment(mode, isRehearsal));
  const { select: model, note: modelNote } = makeModelChoice(context);
  const status = makeStatus(() => void cancel());
  const parameters = makeParameters(context, () => changed());
  const where = makeWhere(context, () => changed());
  const followed = h("input", { attributes: { type: "checkbox" }, on: { change: () => follower.toggle() } });
  const follower = makeFollow(context,
    () => {
      const options = parameters.quietly();
      return options && { model: model.value, ...followOptions(options) };
    },
    (text) => running === null && !isAsking && status.show(text),
    (isOn) => (followed.checked = isOn));
  root.append(
    h("section", { class: "card", attributes: { "aria-labelledby": "segment-title" } },
      h("div", { class: "card-head" },
        h("h2", { text: "Segment what you see", attributes: { id: "segment-title" } }),
        h("label", { class: "follow", title: FOLLOW_HELP }, followed, h("span", { text: "Follow" }), h("kbd", { text: "F" }))),
      ways,
      where.element,
      h("label", { class: "field" }, h("span", { text: "Model" }), model, modelNote),
      parameters.element,
      status.line),
  );

  /** @param {SegmentMode} mode @param {boolean} [isRehearsal] only say what would change */
  async function segment(mode, isRehearsal = false) {
    if (isBusy()) return;
    const options = parameters.options();
    if (options === null) return status.show("Correct the marked parameter first. Nothing was sent.", { error: true });
    const view = bridge.view();
    const centre = view.panels[view.active]?.centre.map(Math.floor);
    const region = asked();
    if (region instanceof ApiError) return fail(region);
    await run({
      view, mode, model: model.value, ...region, ...options,
      ...(centre ? { centre: /** @type {import("../types.js").Zyx} */ (centre) } : {}),
      ...(isRehearsal ? { dry_run: true } : {}),
    });
  }

  /** @returns {import("../types.js").Where | ApiError} what is asked for besides the view */
  function asked() {
    try {
      return where.where();
    } catch (error) {
      if (error instanceof ApiError) return error;
      throw error;
    }
  }

  /** @returns {boolean} whether nothing can be started now, which is said */
  function isBusy() {
    const isRunning = running !== null || isAsking;
    if (isRunning) notify("A segmentation is already running. Wait for it, or cancel it with Esc.", { key: "segment" });
    else if (store.state.session.read_only) {
      notify("This version is read-only. Choose “Edit from here” first.", { key: "read-only" });
    }
    return isRunning || store.state.session.read_only;
  }

  /** @param {SegmentRequest} request */
  async function run(request) {
    performance.clearMarks(MEASURE);
    performance.mark(MEASURE);
    isAsking = true;
    follower.hold();
    status.show(request.dry_run ? "Finding out what would change …" : "Segmenting …", { progress: 0 });
    try {
      await follow(await api.segment(request), request);
    } catch (error) {
      fail(error);
    } finally {
      isAsking = false;
      follower.release();
    }
  }

  /** @param {string} id @param {SegmentRequest | null} request follow a job to its end and show what came of it */
  async function follow(id, request) {
    running = id;
    const began = Date.now();
    try {
      const { job, news } = await followJob(api, id, () => live.version, (job) => {
        const waiting = job.state === "queued" ? "Waiting for the worker" : "Segmenting";
        // The steps of a short job would only flicker, and each costs a frame of the whole page.
        if (!request?.dry_run) found.show(job);
        if (Date.now() - began > QUIET_MS) status.show(job.message || waiting, { progress: job.progress });
      });
      await finish(job, news, request);
    } finally {
      found.hide();
      running = null;
    }
  }

  /** @param {Job} job @param {import("../types.js").News | null} news @param {SegmentRequest | null} request */
  async function finish({ job_id, state, message, error, operation_id, result }, news, request) {
    if (state === "cancelled") return status.show("Cancelled. Nothing was changed.");
    if (state !== "done") throw new ApiError(error?.message ?? message, error?.kind ?? state, 500);
    if (result !== null && "added" in result) return offer(message, result, request);
    await live.sync(news);
    found.showMaps(job_id, result);
    found.showStacks(job_id, result);
    if (performance.getEntriesByName(MEASURE, "mark").length > 0) performance.measure(MEASURE, MEASURE);
    await live.history;
    const operation = store.state.operations.find((done) => done.operation_id === operation_id);
    const count = operation?.added_roots.length ?? null;
    status.show(count === null ? "Done." : `Done: ${count} ${count === 1 ? "object" : "objects"} found.`);
  }

  /** @param {string} message @param {Change} result @param {SegmentRequest | null} request */
  function offer(message, { added, removed, trimmed }, request) {
    if (request === null) return status.show(message);
    const { dry_run: _, ...same } = request;
    const wouldChange = added + removed + trimmed > 0;
    status.show(`${MODES[same.mode].name}: ${message}`, { offer: wouldChange ? () => isBusy() || void run(same) : null });
  }

  /** @param {unknown} error */
  function fail(error) {
    status.show(error instanceof Error ? error.message : String(error), { error: true });
  }

  async function cancel() {
    if (running === null) {
      follower.stop();
      return status.withdraw();
    }
    status.show("Cancelling …", { progress: 0 });
    await api.cancelJob(running).catch(fail);
  }

  function changed() {
    if (running === null && !isAsking) status.show("");
    parameters.setModel(store.state.session.models.find(({ name }) => name === model.value) ?? null);
    void measure();
  }

  let measured = 0;
  /** Ask the server what each tile would segment from here, once the image is there to look at. */
  async function measure() {
    const now = ++measured;
    await bridge.rest.within(LOADED_WITHIN_MS);
    const view = bridge.view();
    if (now !== measured || document.hidden || view.panels.length === 0) return;
    const region = asked();
    if (region instanceof ApiError) return tiles.forEach((tile) => tile.refused(region));
    await Promise.all(tiles.map(({ mode, ...tile }) =>
      api.region({ view, mode, model: model.value, ...region, ...parameters.readAs() }).then(
        (region) => now === measured && tile.measured(region),
        (error) => now === measured && tile.refused(error),
      )));
  }

  let timer = 0;
  bridge.onView(() => {
    clearTimeout(timer);
    timer = setTimeout(measure, REGION_DELAY_MS);
  });
  model.addEventListener("change", changed);
  changed();
  void bridge.rest.within(LOADED_WITHIN_MS).then(() => api.jobs()).then((jobs) => {
    const mine = jobs.find((job) => job.kind === "segment" && job.user === api.user && ["queued", "running"].includes(job.state));
    if (mine && running === null) follow(mine.job_id, null).catch(fail);
  }).catch(() => {});

  return {
    actions: {
      "segment-slice": () => segment("slice"),
      "segment-box": () => segment("box"),
      "segment-orthoplane": () => segment("orthoplane"),
      follow: follower.toggle,
      "split-source": where.mark,
      confirm: where.close,
      cancel: () => (where.isDrawing() ? where.leave() : cancel()),
    },
    claims: (action) => where.isDrawing() && ["split-source", "confirm", "cancel"].includes(action),
    render({ session }) {
      ways.disabled = model.disabled = where.element.disabled = followed.disabled = session.read_only;
      if (session.read_only) follower.stop();
      parameters.lock(session.read_only);
      if (session.read_only) status.withdraw();
    },
  };
}
