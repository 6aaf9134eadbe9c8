/** The server's JSON interface: one method per route, one error class, safe repeats of edits. */

/**
 * @typedef {import("./types.js").Operation} Operation
 * @typedef {import("./types.js").Session} Session
 * @typedef {import("./types.js").EditAnswer} EditAnswer
 * @typedef {import("./types.js").Zyx} Zyx
 */

/** What the server refused, in its own words, or that it could not be reached (status 0). */
export class ApiError extends Error {
  /** @param {string} message @param {string} kind @param {number} status */
  constructor(message, kind, status) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
}

/** Answers after which the same edit may be sent again: its `request_id` makes it happen once. */
const PASSING = new Set([0, 502, 503, 504]);
const RETRY_AFTER_MS = [300, 1000, 3000];

/** @returns {string} a random UUID; `randomUUID` exists in secure contexts only */
export function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export class Api {
  /**
   * @param {string} prefix where the server lives on this origin: "" or "/some/path"
   * @param {Session} session
   */
  constructor(prefix, session) {
    this.prefix = prefix;
    this.token = session.id;
    this.volumeName = session.volume;
    this.user = session.user;
    this.volume = `/api/v1/volumes/${encodeURIComponent(session.volume)}`;
  }

  /**
   * @param {"GET" | "POST" | "DELETE"} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>} the answer's JSON; an ApiError for any other
   */
  async request(method, path, body) {
    /** @type {Response} */
    let response;
    try {
      response = await fetch(this.prefix + path, {
        method,
        // What is cancelled by leaving the page is still cancelled.
        keepalive: method === "DELETE",
        headers: {
          "X-Mitoglance-User": encodeURIComponent(this.user),
          ...(body ? { "Content-Type": "application/json" } : {}),
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
    } catch {
      throw new ApiError("The server cannot be reached. Check the connection; your work up to here is kept.", "offline", 0);
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer?.ok) return answer;
    const { message, kind } = answer?.error ?? {};
    const text = message ?? `The server answered ${response.status}. Try again in a moment.`;
    throw new ApiError(text, kind ?? "unexpected", response.status);
  }

  /**
   * Send what may be sent again until it is answered; it happens once however often it is sent.
   *
   * @param {string} path below the volume
   * @param {object} body
   * @returns {Promise<any>}
   */
  async once(path, body) {
    const sent = { ...body, session: this.token, request_id: randomId() };
    for (const wait of RETRY_AFTER_MS) {
      try {
        return await this.request("POST", this.volume + path, sent);
      } catch (error) {
        if (!(error instanceof ApiError) || !PASSING.has(error.status)) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
    return this.request("POST", this.volume + path, sent);
  }

  /** @param {string} path @param {object} body @returns {Promise<EditAnswer>} */
  edit(path, body) {
    return this.once(path, body);
  }

  /** @param {string[]} ids @param {number} base_version */
  merge(ids, base_version) {
    return this.edit("/merge", { ids, base_version });
  }

  /** @param {string} id @param {Zyx} point a voxel of the object */
  locate(id, point) {
    const voxel = point.map(Math.floor).join(",");
    return this.request("GET", `${this.volume}/objects/${id}?point=${voxel}`);
  }

  /**
   * @param {{version: number, sort: string, limit: number, after?: string, class?: string}} query
   * @returns {Promise<import("./types.js").ObjectRow[]>}
   */
  async objects(query) {
    const text = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, `${value}`]));
    return (await this.request("GET", `${this.volume}/objects?${text}`)).objects;
  }

  /** @param {number} version @returns {Promise<string[]>} the classes that its objects are of */
  async classes(version) {
    return (await this.request("GET", `${this.volume}/classes?version=${version}`)).classes;
  }

  /** @param {Zyx[]} sources @param {Zyx[]} sinks @param {number} base_version */
  split(sources, sinks, base_version) {
    return this.edit("/split", { sources, sinks, base_version });
  }

  /** @param {Zyx[]} sources @param {Zyx[]} sinks */
  async splitPreview(sources, sinks) {
    const body = { sources, sinks, session: this.token };
    const answer = await this.request("POST", `${this.volume}/split/preview`, body);
    return /** @type {import("./types.js").SplitPreview} */ (answer.preview);
  }

  /** @param {string[]} ids @param {number} base_version */
  remove(ids, base_version) {
    return this.edit("/delete", { ids, base_version });
  }

  /** @param {number} [operation_id] an operation by anyone; without it the user's own last edit */
  undo(operation_id) {
    return this.edit("/undo", operation_id === undefined ? {} : { operation_id });
  }

  /** @param {number} [operation_id] an undo by anyone; without it the user's own last one */
  redo(operation_id) {
    return this.edit("/redo", operation_id === undefined ? {} : { operation_id });
  }

  /** @param {{view: import("./types.js").View, mode: import("./types.js").SegmentMode, model: string, voxel_size_nm?: number} & import("./types.js").Where} body */
  async region(body) {
    const answer = await this.request("POST", `${this.volume}/region`, body);
    return /** @type {import("./types.js").Region} */ (answer.region);
  }

  /** @param {import("./types.js").SegmentRequest} body @returns {Promise<string>} the job's id */
  async segment(body) {
    return (await this.once("/segment", body)).job_id;
  }

  /**
   * @param {string} id
   * @param {number} wait ms that the answer may take; it comes at once when the job ends
   * @param {number} since the version that the page shows
   * @returns {Promise<{job: import("./types.js").Job, news: import("./types.js").News | null}>} with
   *   the news when the job has ended
   */
  job(id, wait, since) {
    return this.request("GET", `/api/v1/jobs/${encodeURIComponent(id)}?wait_ms=${wait}&since=${since}`);
  }

  /** @returns {Promise<import("./types.js").Job[]>} jobs of this volume, newest first */
  async jobs() {
    const query = `volume=${encodeURIComponent(this.volumeName)}`;
    return (await this.request("GET", `/api/v1/jobs?${query}`)).jobs ?? [];
  }

  /** @param {string} id */
  cancelJob(id) {
    return this.request("DELETE", `/api/v1/jobs/${encodeURIComponent(id)}`);
  }

  /** @returns {Promise<Operation[]>} newest first */
  async operations() {
    return (await this.request("GET", `${this.volume}/operations?limit=200`)).operations;
  }

  /**
   * @param {number} since
   * @returns {Promise<import("./types.js").News>}
   */
  events(since) {
    const query = `volume=${encodeURIComponent(this.volumeName)}&since=${since}`;
    return this.request("GET", `/api/v1/events?${query}`);
  }

  /**
   * Pin this page to a version, or let it follow the newest (null).
   *
   * @param {number | null} version
   * @returns {Promise<Session>}
   */
  async showVersion(version) {
    const path = `/api/v1/sessions/${encodeURIComponent(this.token)}/version`;
    return (await this.request("POST", path, { version })).session;
  }

  /**
   * @param {import("./types.js").ViewState} view_state
   * @param {number} version
   * @returns {Promise<import("./types.js").Share>}
   */
  share(view_state, version) {
    return this.request("POST", "/api/v1/shares", { volume: this.volumeName, version, view_state });
  }
}
