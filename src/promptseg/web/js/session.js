/** The page without its elements: the document and its history, the server, the answers, and what follows from them. */

import { Api } from "./api.js";
import { Asker, PANOPTIC } from "./asker.js";
import { asksTheSame, emptyDocument, hasPlace } from "./document.js";
import { percent } from "./i18n.js";
import { Masks } from "./masks.js";
import { Server } from "./server.js";
import { Store } from "./store.js";
import { isShown, judge } from "./verdict.js";

// Until the server has said what its model takes for present.
const USUAL_THRESHOLD = 0.5;

export class Session {
  /** All masks are hidden for a look at the picture. */
  masksHidden = false;

  /**
   * @param {{onChange: () => void, onAnswers: (answers: Map<number, import("./asker.js").Answer>) => void,
   *   onError: (error: Error) => void}} listeners
   */
  constructor({ onChange, onAnswers, onError }) {
    this.api = new Api();
    this.server = new Server(this.api);
    this.store = new Store(emptyDocument());
    this.masks = new Masks(onChange);
    this.asker = new Asker(this.server, { onChange, onAnswers, onError });
    this.server.subscribe(onChange);
    let asked = this.store.value;
    this.store.subscribe((doc) => {
      if (!asksTheSame(asked, doc)) this.asker.ask(doc);
      asked = doc;
      onChange();
    });
  }

  /** @returns {import("./document.js").Document} */
  get doc() {
    return this.store.value;
  }

  get model() {
    return this.server.model(this.doc.model);
  }

  /** Presence from which an object counts as present. */
  get threshold() {
    return this.doc.presence ?? this.#thresholds.presence;
  }

  get maskThreshold() {
    return this.doc.maskThreshold ?? this.model?.mask_threshold ?? USUAL_THRESHOLD;
  }

  /** @returns {import("./verdict.js").Thresholds} */
  get #thresholds() {
    const { presence_threshold: presence = USUAL_THRESHOLD, unsure_threshold: unsure = null } = this.model ?? {};
    return { presence, unsure };
  }

  /** Whether everything that was asked is answered and can be drawn. */
  get isIdle() {
    return this.asker.task.kind === "idle" && this.masks.isIdle;
  }

  /** What an export may take: each query with its answer, and whether its mask is shown. */
  exportEntries() {
    if (this.doc.isPanoptic) return this.asker.named.map(({ query }) => ({ query, isShown: true }));
    return this.doc.queries
      .filter((query) => this.asker.answers.has(query.id))
      .map((query) => ({ query, isShown: !query.hidden && isShown(this.verdictOf(query)) }));
  }

  /** Ask at full size what an export takes. */
  async fetchExport() {
    const { doc } = this;
    const { answers, facts } = await this.asker.askFullSize(doc);
    const named = answers.get(PANOPTIC) ?? [];
    return {
      picture: doc.picture,
      opacity: doc.opacity,
      facts: { mask_threshold: this.maskThreshold, ...facts, presence_threshold: this.threshold },
      answers: doc.isPanoptic ? new Map(named.map((each) => [each.query.id, each])) : answers,
    };
  }

  /** Whether a prompt of a kind, or no prompt, can be given now. @param {string|null} kind */
  takes(kind) {
    if (this.doc.picture === null) return false;
    return kind === null || (this.model?.prompt_kinds?.includes(kind) ?? true);
  }

  /** @param {import("./document.js").Query} query */
  verdictOf(query) {
    const answer = this.asker.answers.get(query.id);
    return answer ? judge(answer.result, this.doc.presence, this.#thresholds) : null;
  }

  /** @param {import("./document.js").Query} query @returns {import("./row.js").RowState} */
  rowState(query) {
    const answer = this.asker.answers.get(query.id) ?? null;
    const isCurrent = answer?.query.prompts === query.prompts && answer.query.candidate === query.candidate;
    return {
      verdict: this.verdictOf(query),
      answer,
      isPending: this.asker.task.kind !== "idle" && !isCurrent && hasPlace(query),
      isActive: query.id === this.doc.activeId,
      canPropose: this.model?.can_propose ?? false,
      threshold: this.threshold,
    };
  }

  /** The masks to draw. @returns {import("./stage.js").Layer[]} */
  layers() {
    if (this.masksHidden) return [];
    return this.doc.isPanoptic ? this.#namedLayers() : this.#queryLayers();
  }

  #namedLayers() {
    return this.asker.named.flatMap(({ query, result, maskSize }) => {
      const outlines = this.masks.outlinesOf(result);
      return outlines === null ? [] : [{ query, verdict: "present", outlines, maskSize, caption: query.label }];
    });
  }

  #queryLayers() {
    return this.doc.queries.flatMap((query) => {
      const verdict = this.verdictOf(query) ?? "absent";
      if (query.hidden || !isShown(verdict)) return [];
      const { result, maskSize } = this.asker.answers.get(query.id);
      const outlines = this.masks.outlinesOf(result);
      const caption = `${query.label} ${percent(result.presence)}${verdict === "unsure" ? "?" : ""}`;
      return outlines === null ? [] : [{ query, verdict, outlines, maskSize, caption }];
    });
  }
}
