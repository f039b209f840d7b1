/** The panel beside the picture: the phrase field, a row for each query, and the sliders. */

import { byId, setText } from "./dom.js";
import { splitPhrases } from "./document.js";
import { percent, t } from "./i18n.js";
import { Row } from "./row.js";

export class Panel {
  #rows = new Map();
  #commands;

  /**
   * @param {import("./row.js").RowCommands & {find: (phrases: string[]) => void, slide: (name: string, value: number)
   *   => void, settle: () => void}} commands slide: "presence", "maskThreshold" or "opacity"; settle: the slider was
   *   let go
   */
  constructor(commands) {
    this.#commands = commands;
    this.list = byId("rows");
    this.phrase = byId("phrase");
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find();
    });
    this.phrase.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.phrase.blur();
    });
    for (const [id, name] of Object.entries({
      presence: "presence",
      "mask-threshold": "maskThreshold",
      opacity: "opacity",
    })) {
      const slider = byId(id);
      slider.addEventListener("input", () => commands.slide(name, Number(slider.value)));
      slider.addEventListener("change", () => commands.settle());
    }
  }

  #find() {
    const phrases = splitPhrases(this.phrase.value);
    if (phrases.length === 0) return;
    this.phrase.value = "";
    this.#commands.find(phrases);
  }

  /**
   * @param {import("./document.js").Document} doc
   * @param {(query: import("./document.js").Query) => import("./row.js").RowState} stateOf
   * @param {{presence: number, maskThreshold: number}} thresholds
   */
  update(doc, stateOf, thresholds) {
    const ids = new Set(doc.queries.map((query) => query.id));
    for (const [id, row] of this.#rows) {
      if (!ids.has(id)) {
        moveFocusFrom(row.element, this.list);
        row.element.remove();
        this.#rows.delete(id);
      }
    }
    doc.queries.forEach((query, index) => {
      const row = this.#rows.get(query.id) ?? this.#add(query.id);
      row.update(query, index + 1, stateOf(query));
      if (this.list.children[index] !== row.element)
        this.list.insertBefore(row.element, this.list.children[index] ?? null);
    });
    const empty = byId("rows-empty");
    empty.hidden = doc.queries.length > 0;
    setText(empty, t(doc.picture === null ? "rows.noPicture" : "rows.empty"));
    setSlider("presence", thresholds.presence);
    setSlider("mask-threshold", thresholds.maskThreshold);
    setSlider("opacity", doc.opacity);
  }

  #add(id) {
    const row = new Row(this.#commands);
    this.#rows.set(id, row);
    return row;
  }
}

/** A row that goes takes its focus along: give it to the next row, or to the phrase field. */
function moveFocusFrom(element, list) {
  if (!element.contains(document.activeElement)) return;
  const neighbor = element.nextElementSibling ?? element.previousElementSibling;
  (neighbor && list.contains(neighbor) ? neighbor.querySelector(".row-main") : byId("phrase")).focus();
}

function setSlider(id, value) {
  const slider = byId(id);
  if (Number(slider.value) !== value) slider.value = value;
  slider.style.setProperty("--filled", String((slider.value - slider.min) / (slider.max - slider.min)));
  const text = percent(value);
  setText(byId(`${id}-value`), text);
  slider.setAttribute("aria-valuetext", text);
}
