/** Follows a job to its end, and learns of that at once. */

/**
 * @typedef {import("./types.js").Job} Job
 * @typedef {import("./types.js").News} News
 */

/** How old what is shown of a running job may be. */
const WAIT_MS = 150;
/** A server that is too busy to wait is not asked more often than this. */
const LEAST_MS = 60;

/** @param {number} ms @returns {Promise<void>} */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * @param {Pick<import("./api.js").Api, "job">} api
 * @param {string} id
 * @param {() => number} since the version that the page shows
 * @param {(job: Job) => void} [onStep] told how far it is, several times a second
 * @returns {Promise<{job: Job, news: News | null}>} how it ended, and what happened since then
 */
export async function followJob(api, id, since, onStep = () => {}) {
  for (;;) {
    const asked = Date.now();
    const answer = await api.job(id, WAIT_MS, since());
    if (answer.job.state !== "queued" && answer.job.state !== "running") return answer;
    onStep(answer.job);
    await pause(LEAST_MS - (Date.now() - asked));
  }
}
