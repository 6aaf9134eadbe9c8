/**
 * Follow mode: the slice in view is segmented as one pans, and the next view got ready.
 *
 * Nothing is asked for while the view moves; it has settled after half a second. One job at a time,
 * cancelled once little of it is in view any more; the view that comes next, by the last two
 * positions, is computed ahead when nobody waits (`purpose: "warm"`). It is off in a new page.
 */

import { ApiError } from "./api.js";
import { followJob } from "./jobs.js";

/**
 * @typedef {import("./types.js").Panel} Panel
 * @typedef {import("./types.js").SegmentRequest} SegmentRequest
 * @typedef {import("./types.js").Zyx} Zyx
 */

const SETTLED_MS = 500;
const STILL_SEEN = 0.25;
/** Moves of more panels, or of more sections, are jumps, after which nobody knows what comes next. */
const MOST_PANELS = 1.5;
const MOST_SECTIONS = 16;
/** What is said of a view that cannot be segmented; the next one may. */
const PASSING = new Set(["roi-out-of-bounds", "roi-too-large"]);

/** @param {Panel} panel @param {number} axis @returns {[low: number, high: number]} */
function span({ centre, right, down, width, height }, axis) {
  const half = (Math.abs(right[axis] ?? 0) * width + Math.abs(down[axis] ?? 0) * height) / 2;
  const middle = centre[axis] ?? 0;
  // A panel is as thick as the voxel it cuts.
  return half > 1e-6 ? [middle - half, middle + half] : [Math.floor(middle + 1e-3), Math.floor(middle + 1e-3) + 1];
}

/** @param {Panel} then @param {Panel} now @returns {number} the share of `then` that is seen now */
export function shareSeen(then, now) {
  return [0, 1, 2].reduce((share, axis) => {
    const [a, b] = span(then, axis);
    const [c, d] = span(now, axis);
    return share * Math.max(0, Math.min(b, d) - Math.max(a, c)) / (b - a);
  }, 1);
}

/** @param {Panel} before @param {Panel} now @returns {Panel | null} where the same move leads again */
export function predicted(before, now) {
  const move = now.centre.map((value, axis) => value - (before.centre[axis] ?? value));
  const isSameLook = String([now.right, now.down]) === String([before.right, before.down]);
  const isStill = move.every((value) => Math.abs(value) < 1e-3);
  const isJump = [0, 1, 2].some((axis) => {
    const [low, high] = span(now, axis);
    const most = high - low === 1 ? MOST_SECTIONS : MOST_PANELS * (high - low);
    return Math.abs(move[axis] ?? 0) > most;
  });
  if (!isSameLook || isStill || isJump) return null;
  const [z, y, x] = now.centre.map((value, axis) => value + (move[axis] ?? 0));
  return { ...now, centre: [z ?? 0, y ?? 0, x ?? 0] };
}

/**
 * @param {import("./types.js").Context} context
 * @param {() => Omit<SegmentRequest, "view" | "mode"> | null} options what is sent besides the view; null: not now
 * @param {(text: string) => void} say a quiet line
 * @param {(isOn: boolean) => void} onToggle
 */
export function makeFollow({ api, bridge, live, store, notify }, options, say, onToggle) {
  let isOn = false;
  let held = 0;
  let timer = 0;
  let isRunning = false;
  /** @type {string | null} */
  let running = null;
  /** @type {string | null} */
  let warming = null;
  /** @type {Panel | null} what the running job is about */
  let about = null;
  /** @type {Panel | null} */
  let before = null;
  let done = "";

  const panel = () => {
    const { panels, active } = bridge.view();
    return panels[active] ?? null;
  };

  /** @param {string | null} id */
  const cancelJob = (id) => (id === null ? undefined : void api.cancelJob(id).catch(() => {}));

  function abandon() {
    cancelJob(running);
    cancelJob(warming);
    warming = null;
  }

  function moved() {
    if (!isOn) return;
    const now = panel();
    if (running !== null && about !== null && (now === null || shareSeen(about, now) < STILL_SEEN)) {
      cancelJob(running);
      running = null;
    }
    clearTimeout(timer);
    timer = setTimeout(() => void settled(), SETTLED_MS);
  }

  async function settled() {
    const now = panel();
    const rest = options();
    if (!isOn || held > 0 || isRunning || document.hidden || now === null || rest === null) return;
    const key = JSON.stringify([now, rest]);
    if (key === done) return;
    isRunning = true;
    about = now;
    try {
      const next = before === null ? null : predicted(before, now);
      before = now;
      const isDone = await segment({ ...rest, view: { panels: [now], active: 0 }, mode: "slice", purpose: "follow" });
      if (isDone) {
        done = key;
        await warm(next, rest);
      }
    } catch (error) {
      failed(error, key);
    } finally {
      isRunning = false;
      running = about = null;
    }
    // The view may have moved on meanwhile.
    moved();
  }

  /** @param {SegmentRequest} request @returns {Promise<boolean>} whether it was done to its end */
  async function segment(request) {
    say("Following: segmenting …");
    const id = running = await api.segment(request);
    if (!isOn || held > 0) cancelJob(id);
    const { job, news } = await followJob(api, id, () => live.version);
    if (job.state === "cancelled") {
      if (isOn) say("Following: moved on.");
      return false;
    }
    if (job.state !== "done") throw new ApiError(job.error?.message ?? job.message, job.error?.kind ?? job.state, 500);
    if (job.operation_id === null) {
      say("Following: nothing new here.");
      return true;
    }
    await live.sync(news);
    await live.history;
    const count = store.state.operations.find((one) => one.operation_id === job.operation_id)?.added_roots.length ?? 0;
    say(`Following: ${count} ${count === 1 ? "object" : "objects"} added.`);
    return true;
  }

  /** @param {Panel | null} next @param {Omit<SegmentRequest, "view" | "mode">} rest */
  async function warm(next, rest) {
    // A preset computes regions, not blocks: nothing would be kept.
    if (next === null || rest.preset || !isOn || held > 0) return;
    // What cannot be got ready is nothing lost.
    warming = await api.segment({ ...rest, view: { panels: [next], active: 0 }, mode: "slice", purpose: "warm" }).catch(() => null);
  }

  /** @param {unknown} error @param {string} key */
  function failed(error, key) {
    const message = error instanceof Error ? error.message : String(error);
    if (error instanceof ApiError && PASSING.has(error.kind)) {
      done = key;
      return say(`Following: ${message}`);
    }
    turn(false);
    notify(`Follow has stopped: ${message}`, { error: true, key: "follow" });
  }

  /** @param {boolean} on */
  function turn(on) {
    if (on === isOn) return;
    isOn = on;
    done = "";
    before = null;
    onToggle(isOn);
    if (isOn) void settled();
    else {
      clearTimeout(timer);
      abandon();
      say("");
    }
  }

  function toggle() {
    if (!isOn && store.state.session.read_only) {
      onToggle(false);
      return notify("This version is read-only. Choose “Edit from here” first.", { key: "read-only" });
    }
    turn(!isOn);
  }

  bridge.onView(moved);
  addEventListener("pagehide", abandon);

  return {
    toggle,
    stop: () => turn(false),
    isOn: () => isOn,
    /** Something else is being done: give up what runs, and begin nothing. */
    hold() {
      held += 1;
      abandon();
    },
    release() {
      held -= 1;
      moved();
    },
  };
}
