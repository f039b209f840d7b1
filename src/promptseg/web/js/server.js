/**
 * The server as the page sees it: loading, ready, gone, or locked; and requests that wait for it to come back.
 *
 * @typedef {{phase: "loading", step: string, done: number, total: number} | {phase: "ready"}
 *   | {phase: "gone"} | {phase: "locked", wrong: boolean} | {phase: "failed", message: string}} ServerState
 */

import { ApiError, UnreachableError } from "./api.js";

const MAX_BUSY_TRIES = 5;
const POLL_MS = 700;

export class Server {
  /** @type {ServerState} */
  state = { phase: "loading", step: "", done: 0, total: 0 };
  models = [];
  defaultModel = null;
  limits = null;

  #watching = null;
  #wakeUp = () => {};
  #listeners = new Set();

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /** @param {() => void} listener called after every change of state */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  /** @param {string|null} name null: the default @returns {object|null} */
  model(name) {
    return this.models.find((model) => model.name === (name ?? this.defaultModel)) ?? null;
  }

  /** Look again now, not at the next poll: the retry button. */
  lookNow() {
    this.#wakeUp();
  }

  /** @param {string} token */
  unlock(token) {
    this.api.setToken(token);
    this.#wakeUp();
  }

  /** Resolve when the models are loaded. Everyone who waits shares one poll. */
  whenReady() {
    if (this.state.phase === "ready") return Promise.resolve();
    this.#watching ??= this.#watch().finally(() => {
      this.#watching = null;
    });
    return this.#watching;
  }

  /**
   * Send a request until it is answered: wait while the server is busy, loading, locked or gone.
   *
   * @template T
   * @param {() => Promise<T>} send
   * @param {{signal: AbortSignal, onBusy: (attempt: number, seconds: number) => void}} options
   * @returns {Promise<T>}
   */
  async patiently(send, { signal, onBusy }) {
    for (let busy = 0; ;) {
      await this.whenReady();
      signal.throwIfAborted();
      try {
        return await send();
      } catch (error) {
        if (error instanceof ApiError && error.code === "busy" && busy < MAX_BUSY_TRIES) {
          onBusy(++busy, error.retryAfter);
          await pause(error.retryAfter * 1000, signal);
        } else if (!this.#takeNote(error)) {
          throw error;
        }
      }
    }
  }

  /** Change the state as an error tells; false: the error is of the request, not of the server. */
  #takeNote(error) {
    if (error instanceof UnreachableError) this.#set({ phase: "gone" });
    else if (!(error instanceof ApiError)) return false;
    else if (error.code === "model_loading") this.#set({ phase: "loading", step: "", done: 0, total: 0 });
    else if (error.status === 401) this.#set({ phase: "locked", wrong: this.state.phase === "locked" });
    else return false;
    return true;
  }

  async #watch() {
    while (this.state.phase !== "ready") {
      try {
        await this.#look();
      } catch (error) {
        if (!this.#takeNote(error)) this.#set({ phase: "failed", message: error.message });
      }
      if (this.state.phase !== "ready") await this.#rest();
    }
  }

  async #look() {
    const readiness = await this.api.readiness();
    if (readiness.status === "failed") {
      const failed = readiness.models.find((model) => model.state === "failed");
      this.#set({ phase: "failed", message: failed?.message ?? "" });
    } else if (readiness.status === "loading") {
      const loading = readiness.models.find((model) => model.state === "loading") ?? {};
      const { step = "", bytes_done: done = 0, bytes_total: total = 0 } = loading;
      this.#set({ phase: "loading", step, done, total });
    } else {
      const [{ models, default: defaultModel }, { limits }] = await Promise.all([this.api.models(), this.api.status()]);
      Object.assign(this, { models, defaultModel, limits });
      this.#set({ phase: "ready" });
    }
  }

  /** Wait for the next poll; a locked server is asked again when there is a new token. */
  #rest() {
    return new Promise((resolve) => {
      this.#wakeUp = resolve;
      if (this.state.phase !== "locked") setTimeout(resolve, POLL_MS);
    });
  }

  #set(state) {
    this.state = state;
    for (const listener of this.#listeners) listener();
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}
