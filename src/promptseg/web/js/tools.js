/** The tool in hand: which one, its sign and the width of its brush; and the bar that shows them. */

import { byId, icon } from "./dom.js";
import { t } from "./i18n.js";

const KEYS = { pan: "V", point: "P", box: "B", scribble: "S" };
// Of the picture's longer side. The server takes lines of up to 3 % for a scribble.
const BRUSH = { least: 0.004, first: 0.012, most: 0.026, step: 1.25 };

export class Tools {
  /** @type {"pan"|"point"|"box"|"scribble"} */
  tool = "point";
  isPositive = true;

  #brush = BRUSH.first;
  #onChange;
  #buttons = [...document.querySelectorAll("[data-tool]")];

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    this.sign = byId("sign");
    for (const button of this.#buttons) button.addEventListener("click", () => this.take(button.dataset.tool));
    this.sign.addEventListener("click", () => this.flip());
    byId("tools").addEventListener("keydown", (event) => this.#walk(event));
    this.update(() => false);
  }

  /** @param {"pan"|"point"|"box"|"scribble"} tool */
  take(tool) {
    this.tool = tool;
    this.#onChange();
  }

  /** From "on the object" to "not this", and back. */
  flip() {
    this.isPositive = !this.isPositive;
    this.#onChange();
  }

  /** @param {1|-1} direction thicker or thinner */
  changeBrush(direction) {
    this.#brush = Math.min(BRUSH.most, Math.max(BRUSH.least, this.#brush * BRUSH.step ** direction));
    this.#onChange();
  }

  /** @param {import("./geometry.js").Size} picture @returns {number} pixels of the picture */
  brushOn(picture) {
    return Math.max(1, this.#brush * Math.max(picture.width, picture.height));
  }

  /**
   * @param {(kind: string|null) => boolean} takes whether prompts of a kind can be given; null: the picture be moved
   */
  update(takes) {
    const kinds = { pan: null, point: "point", box: "box", scribble: "mask" };
    for (const button of this.#buttons) {
      const { tool } = button.dataset;
      const isTaken = tool === this.tool;
      button.disabled = !takes(kinds[tool]);
      button.setAttribute("aria-pressed", String(isTaken));
      button.tabIndex = isTaken ? 0 : -1;
      name(button, t(`tool.${tool}`), KEYS[tool]);
    }
    const exemplar = byId("exemplar");
    exemplar.disabled = !takes("exemplar");
    name(exemplar, t("tool.exemplar"), "X");
    this.#updateSign(takes);
  }

  #updateSign(takes) {
    const side = this.isPositive ? "positive" : "negative";
    this.sign.disabled = !takes("point") || !(this.tool === "point" || this.tool === "scribble");
    this.sign.setAttribute("aria-pressed", String(!this.isPositive));
    if (this.sign.dataset.side !== side) this.sign.replaceChildren(icon(this.isPositive ? "plus" : "minus"));
    this.sign.dataset.side = side;
    name(this.sign, t(`tool.sign.${side}`), "N");
  }

  /** A toolbar is one stop of the Tab key; its arrows go from tool to tool. */
  #walk(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const stops = [...byId("tools").querySelectorAll("button:not(:disabled)")];
    const next = stops[(stops.indexOf(document.activeElement) + step + stops.length) % stops.length];
    next.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

function name(button, text, key) {
  button.setAttribute("aria-label", text);
  button.setAttribute("aria-keyshortcuts", key);
  button.title = `${text} (${key})`;
}
