/**
 * The HTTP API, one function a route; see docs/serve.md.
 *
 * All addresses are relative to the page, so that it also works behind a proxy that adds a prefix.
 */

const TOKEN_KEY = "promptseg.token";

/** An answer of 400 or more. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, message?: string, way_out?: string}} error
   * @param {number} retryAfter
   */
  constructor(status, error, retryAfter) {
    super(error.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error.code ?? "";
    this.wayOut = error.way_out ?? "";
    this.retryAfter = retryAfter;
  }
}

/** No answer at all: the server has gone, or the network has. */
export class UnreachableError extends Error {}

export class Api {
  #token = sessionStorage.getItem(TOKEN_KEY);

  constructor() {
    this.#takeTokenFromAddress();
  }

  /** @param {string} token sent with every request from now on; kept until the tab is closed */
  setToken(token) {
    this.#token = token;
    sessionStorage.setItem(TOKEN_KEY, token);
  }

  /** @param {Blob} blob @param {{model?: string|null, encode?: boolean}} options @param {AbortSignal} [signal] */
  storeImage(blob, { model = null, encode = true }, signal) {
    const query = new URLSearchParams(model === null ? {} : { model });
    if (!encode) query.set("encode", "false");
    const type = blob.type || "application/octet-stream";
    return this.#json(`v1/images?${query}`, { method: "PUT", body: blob, headers: { "Content-Type": type }, signal });
  }

  /** @param {object} request @param {AbortSignal} [signal] */
  segment(request, signal) {
    return this.#post("v1/segment", request, signal);
  }

  /** @param {object} request @param {AbortSignal} [signal] */
  propose(request, signal) {
    return this.#post("v1/propose", request, signal);
  }

  /** @param {object} request @param {AbortSignal} [signal] */
  panoptic(request, signal) {
    return this.#post("v1/panoptic", request, signal);
  }

  models() {
    return this.#json("v1/models");
  }

  status() {
    return this.#json("v1/status");
  }

  examples() {
    return this.#json("v1/examples");
  }

  /** Say how far the models are; the 503 of a server that is loading is an answer too. */
  async readiness() {
    const response = await this.#fetch("readyz", {});
    const answer = await response.json();
    if (answer.error) throw this.#toError(response, answer);
    return answer;
  }

  /** @param {string} url @returns {Promise<Blob>} */
  async file(url) {
    const response = await this.#fetch(url.replace(/^\//, ""), {});
    if (!response.ok) throw new ApiError(response.status, {}, 0);
    return response.blob();
  }

  #post(path, request, signal) {
    const headers = { "Content-Type": "application/json" };
    return this.#json(path, { method: "POST", body: JSON.stringify(request), headers, signal });
  }

  async #json(path, options = {}) {
    const response = await this.#fetch(path, options);
    let answer;
    try {
      answer = await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (response.ok) throw new UnreachableError("the answer broke off");
      answer = {}; // a proxy's own page of an error
    }
    if (!response.ok) throw this.#toError(response, answer);
    return answer;
  }

  async #fetch(path, options) {
    const headers = { ...options.headers, ...(this.#token ? { Authorization: `Bearer ${this.#token}` } : {}) };
    try {
      return await fetch(new URL(path, document.baseURI), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new UnreachableError(error.message);
    }
  }

  #toError(response, answer) {
    const retryAfter = Number(response.headers.get("Retry-After")) || 1;
    return new ApiError(response.status, answer.error ?? {}, retryAfter);
  }

  /** `#token=...` reaches no server and no log; it does not stay in the address either. */
  #takeTokenFromAddress() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token === null) return;
    this.setToken(token);
    history.replaceState(null, "", location.pathname + location.search);
  }
}
