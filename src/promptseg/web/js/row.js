/** One query in the panel. Its elements stay while it lives, so that the focus and a name that is typed stay too. */

import { h, icon, setText } from "./dom.js";
import { onlyPoints } from "./document.js";
import { percent, t } from "./i18n.js";
import { colorOf, inkOn } from "./palette.js";

const MAX_CANDIDATES = 3;

/**
 * @typedef {{select: (id: number) => void, rename: (id: number, label: string) => void, hide: (id: number) => void,
 *   remove: (id: number) => void, choose: (id: number, candidate: number) => void}} RowCommands
 * @typedef {{verdict: import("./verdict.js").Verdict|null, answer: import("./asker.js").Answer|null,
 *   isPending: boolean, isActive: boolean, canPropose: boolean, threshold: number}} RowState
 */

export class Row {
  #query = null;
  #commands;

  /** @param {RowCommands} commands */
  constructor(commands) {
    this.#commands = commands;
    const id = () => this.#query.id;
    this.swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    this.label = h("span", { class: "row-label" });
    this.detail = h("span", { class: "row-detail" });
    this.score = h("span", { class: "row-score" });
    this.main = h(
      "button",
      {
        type: "button",
        class: "row-main",
        onclick: () => commands.select(id()),
        ondblclick: () => this.#startRename(),
      },
      h("span", { class: "row-text" }, this.label, this.detail),
      this.score,
    );
    this.main.addEventListener("keydown", (event) => {
      if (event.key === "F2") this.#startRename();
    });
    this.eye = h("button", { type: "button", class: "icon-button small", onclick: () => commands.hide(id()) });
    this.cross = h(
      "button",
      { type: "button", class: "icon-button small", onclick: () => commands.remove(id()) },
      icon("close"),
    );
    this.candidates = h("div", { class: "candidates", role: "group" });
    this.meter = h("div", { class: "meter", "aria-hidden": "true" });
    this.element = h("li", { class: "row" }, this.swatch, this.main, this.eye, this.cross, this.candidates, this.meter);
    this.#makeCandidates();
  }

  /** @param {import("./document.js").Query} query @param {number} number @param {RowState} state */
  update(query, number, state) {
    this.#query = query;
    const { verdict, answer, isPending, isActive, canPropose, threshold } = state;
    const { element } = this;
    element.dataset.query = query.label;
    element.dataset.verdict = verdict ?? "";
    element.classList.toggle("active", isActive);
    element.classList.toggle("hidden-mask", query.hidden);
    element.classList.toggle("pending", isPending);
    element.style.setProperty("--color", colorOf(query.color));
    element.style.setProperty("--ink", inkOn(query.color));
    element.style.setProperty("--presence", String(answer?.result.presence ?? 0));
    element.style.setProperty("--threshold", String(threshold));
    setText(this.swatch, String(number));
    setText(this.label, query.label);
    setText(this.detail, describe(query, verdict, answer, isPending));
    setText(this.score, answer === null ? "" : percent(answer.result.presence));
    this.main.setAttribute("aria-pressed", String(isActive));
    this.main.title = t("row.select", { label: query.label });
    this.#updateEye(query);
    nameButton(this.cross, t("row.remove", { label: query.label }));
    this.#updateCandidates(query, isActive && canPropose && onlyPoints(query));
  }

  #updateEye(query) {
    const name = query.hidden ? "eye-off" : "eye";
    if (this.eye.dataset.icon !== name) this.eye.replaceChildren(icon(name));
    this.eye.dataset.icon = name;
    nameButton(this.eye, t(query.hidden ? "row.show" : "row.hide", { label: query.label }));
  }

  #makeCandidates() {
    for (let candidate = 0; candidate < MAX_CANDIDATES; candidate++) {
      const choose = () => this.#commands.choose(this.#query.id, candidate);
      this.candidates.append(
        h("button", { type: "button", class: "candidate", onclick: choose }, String(candidate + 1)),
      );
    }
  }

  #updateCandidates(query, isOffered) {
    this.candidates.hidden = !isOffered;
    this.candidates.setAttribute("aria-label", t("row.candidates"));
    [...this.candidates.children].forEach((button, candidate) => {
      button.setAttribute("aria-pressed", String(query.candidate === candidate));
      nameButton(button, t("row.candidate", { number: candidate + 1, label: query.label }));
    });
  }

  #startRename() {
    const input = h("input", { class: "rename", type: "text", maxLength: 200, value: this.#query.label });
    input.setAttribute("aria-label", t("row.rename", { label: this.#query.label }));
    let isDone = false;
    const stop = (isKept) => {
      // Taking the field away blurs it, and so ends it once more.
      if (isDone) return;
      isDone = true;
      const label = input.value.trim();
      this.main.hidden = false;
      input.remove();
      this.main.focus();
      if (isKept && label && label !== this.#query.label) this.#commands.rename(this.#query.id, label);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.stopPropagation();
        event.preventDefault(); // else the button that gets the focus is pressed by the same key
        stop(event.key === "Enter");
      }
    });
    input.addEventListener("blur", () => stop(true));
    this.main.hidden = true;
    this.main.before(input);
    input.select();
  }
}

/**
 * Say in a few words what was asked and what was found.
 *
 * @param {import("./document.js").Query} query
 * @param {import("./verdict.js").Verdict|null} verdict
 * @param {import("./asker.js").Answer|null} answer
 * @param {boolean} isPending
 * @returns {string}
 */
function describe(query, verdict, answer, isPending) {
  const found = answer === null ? t(isPending ? "row.pending" : "row.unasked") : describeAnswer(answer.result, verdict);
  const readAs = answer?.result.read_as;
  const parts = [found, ...describePrompts(query.prompts)];
  if (readAs && readAs !== query.label) parts.push(t("row.readAs", { text: readAs }));
  return parts.join(" · ");
}

/** @param {object} result @param {import("./verdict.js").Verdict} verdict */
export function describeAnswer(result, verdict) {
  if (verdict === "absent") return t("row.absent");
  const count = result.instances?.length ?? 0;
  const area = t(result.area > 0 ? "row.area" : "row.noMask");
  const objects = count ? t("row.objects", { count }) : area;
  return verdict === "unsure" ? `${t("row.unsure")} · ${objects}` : objects;
}

function describePrompts(prompts) {
  const count = (kind, positive) =>
    prompts.filter((prompt) => prompt.kind === kind && (prompt.positive ?? true) === positive).length;
  const away = count("point", false) + count("stroke", false);
  const counted = [
    ["row.points", count("point", true)],
    ["row.boxes", count("box", true)],
    ["row.strokes", count("stroke", true)],
    ["row.exemplars", count("exemplar", true)],
    ["row.away", away],
  ];
  return counted.filter(([, number]) => number).map(([key, number]) => t(key, { count: number }));
}

function nameButton(button, name) {
  button.setAttribute("aria-label", name);
  button.title = name;
}
