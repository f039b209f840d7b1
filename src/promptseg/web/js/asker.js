/**
 * Keeps the answers up to date with the document: one request in flight, and after it only the newest question.
 *
 * @typedef {import("./document.js").Document} Document
 * @typedef {{query: import("./document.js").Query, result: object, maskSize: [number, number]}} Answer of one query,
 *   as it was when it was asked
 * @typedef {{kind: "idle"|"sending"|"asking"} | {kind: "busy", attempt: number, seconds: number}} Task
 */

import { ApiError } from "./api.js";
import { nameByName } from "./panoptic.js";
import { neededPictures, SCREEN_SIDE, toRequests } from "./wire.js";

// The place of the one answer that is of no query.
export const PANOPTIC = "panoptic";
// Answers that undo and redo find again without a request.
const MAX_REMEMBERED = 60;

export class Asker {
  /** @type {Map<number, Answer>} the newest answer of each query, by its id */
  answers = new Map();
  /** @type {import("./panoptic.js").NamedAnswer[]} the newest answer that names every pixel, one for each name */
  named = [];
  /** @type {Task} */
  task = { kind: "idle" };
  /** Seconds that the last encoding and the last question took on the server. */
  seconds = { encode: null, segment: null };

  #server;
  #onChange;
  #onAnswers;
  #onError;
  #wanted = null;
  #running = null;
  #ids = new Map();
  #namedPicture = null;
  #remembered = new Map();

  /**
   * @param {import("./server.js").Server} server
   * @param {{onChange: () => void, onAnswers: (answers: Map<number, Answer>) => void, onError: (error: Error) => void}}
   *   listeners
   */
  constructor(server, { onChange, onAnswers, onError }) {
    this.#server = server;
    this.#onChange = onChange;
    this.#onAnswers = onAnswers;
    this.#onError = onError;
  }

  /** Ask for what a document needs; a question that has not been sent yet is dropped. @param {Document} doc */
  ask(doc) {
    this.#keepAnswersOf(doc);
    if (doc.picture === null) return;
    this.#wanted = doc;
    // An answer about another picture is of no use; every other one is worth its short wait.
    if (this.#running !== null && this.#running.doc.picture !== doc.picture) this.#running.abort.abort();
    if (this.#running === null) this.#work();
  }

  /**
   * Ask at full size, for an export.
   *
   * @param {Document} doc
   * @returns {Promise<{answers: Map<number, Answer>, facts: object}>} facts: model, fingerprint and mask threshold
   */
  async askFullSize(doc) {
    const answers = new Map();
    const facts = await this.#answer(doc, null, new AbortController().signal, answers);
    if (this.#running === null) this.#setTask({ kind: "idle" });
    return { answers, facts };
  }

  async #work() {
    while (this.#wanted !== null) {
      const doc = this.#wanted;
      const abort = new AbortController();
      this.#wanted = null;
      this.#running = { doc, abort };
      try {
        const answers = new Map();
        await this.#answer(doc, SCREEN_SIDE, abort.signal, answers);
        this.#take(doc, answers);
      } catch (error) {
        if (!abort.signal.aborted) this.#onError(error);
      }
    }
    this.#running = null;
    this.#setTask({ kind: "idle" });
  }

  async #answer(doc, longSide, signal, answers) {
    for (let isRepeated = false; ; isRepeated = true) {
      try {
        await this.#sendPictures(doc, signal);
        let facts = {};
        for (const request of toRequests(doc, this.#idOf, longSide)) {
          facts = await this.#send(request, signal);
          this.#spread(facts, request, doc, answers);
        }
        return facts;
      } catch (error) {
        // The server has forgotten a picture, or was started anew: send them again, once.
        if (!(error instanceof ApiError && error.code === "image_not_found") || isRepeated) throw error;
        this.#ids.clear();
      }
    }
  }

  async #sendPictures(doc, signal) {
    for (const picture of neededPictures(doc)) {
      if (this.#ids.has(picture.key)) continue;
      const encode = picture === doc.picture;
      const stored = await this.#patiently(
        { kind: "sending" },
        () => this.#server.api.storeImage(picture.blob, { model: doc.model, encode }, signal),
        signal,
      );
      this.#ids.set(picture.key, stored.id);
      if (stored.is_encoded) this.seconds = { ...this.seconds, encode: stored.seconds?.encode ?? null };
    }
  }

  async #send({ route, body }, signal) {
    const key = `${route} ${JSON.stringify(body)}`;
    if (this.#remembered.has(key)) return this.#remembered.get(key);
    const api = this.#server.api;
    const answer = await this.#patiently({ kind: "asking" }, () => api[route](body, signal), signal);
    this.seconds = { ...this.seconds, segment: answer.seconds?.segment ?? null };
    // Answers at full size are large, and asked for once.
    if ("mask_long_side" in body) this.#remember(key, answer);
    return answer;
  }

  #patiently(task, send, signal) {
    this.#setTask(task);
    const onBusy = (attempt, seconds) => this.#setTask({ kind: "busy", attempt, seconds });
    const sendNow = () => {
      this.#setTask(task);
      return send();
    };
    return this.#server.patiently(sendNow, { signal, onBusy });
  }

  #spread(answer, request, doc, answers) {
    if (request.route === "panoptic") {
      answers.set(PANOPTIC, nameByName(answer));
      return;
    }
    const [maskHeight, maskWidth] = answer.mask_size_hw;
    request.queryIds.forEach((id, index) => {
      const query = doc.queries.find((each) => each.id === id);
      const isProposal = request.route === "propose";
      const result = answer.results[isProposal ? Math.min(query.candidate, answer.results.length - 1) : index];
      answers.set(id, { query, result, maskSize: [maskHeight, maskWidth] });
    });
  }

  #take(doc, answers) {
    if (answers.has(PANOPTIC)) {
      this.named = answers.get(PANOPTIC);
      this.#namedPicture = doc.picture;
      answers.delete(PANOPTIC);
    }
    for (const [id, answer] of answers) this.answers.set(id, answer);
    this.#onAnswers(answers);
  }

  #keepAnswersOf(doc) {
    if (doc.picture !== this.#namedPicture) this.named = [];
    const ids = new Set(doc.queries.map((query) => query.id));
    for (const id of [...this.answers.keys()]) if (!ids.has(id)) this.answers.delete(id);
  }

  #remember(key, answer) {
    this.#remembered.set(key, answer);
    if (this.#remembered.size > MAX_REMEMBERED) this.#remembered.delete(this.#remembered.keys().next().value);
  }

  #idOf = (picture) => this.#ids.get(picture.key);

  #setTask(task) {
    this.task = task;
    this.#onChange();
  }
}
