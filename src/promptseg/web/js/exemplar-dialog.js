/** The dialog of an example: another picture, and a box around what is meant in it. */

import { byId } from "./dom.js";
import { boxOfCorners, clampToPicture, fitView, toPicture, toStage } from "./geometry.js";
import { t } from "./i18n.js";
import { paintBox } from "./paint.js";
import { stemOf } from "./pictures.js";

// A box with a shorter side was a click, pixels of the picture.
const MIN_SIDE = 2;
const KEY_STEP = 10;
const MARGIN = { side: 16, top: 16, bottom: 16 };
const ACCENT = "#3d52d5";

export class ExemplarDialog {
  #dialog = byId("exemplar-dialog");
  #stage = byId("exemplar-stage");
  #canvas = byId("exemplar-canvas");
  #picture = null;
  #current = null;
  #box = null;
  #corner = null;
  #cursor = null;

  /**
   * @param {{openFile: (file: File) => Promise<import("./pictures.js").Picture|null>,
   *   add: (prompt: object, label: string) => void}} hands
   */
  constructor(hands) {
    const file = byId("exemplar-file");
    byId("exemplar-open").addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      const [chosen] = file.files;
      file.value = "";
      if (chosen) this.show(await hands.openFile(chosen));
    });
    byId("exemplar-current").addEventListener("click", () => this.show(this.#current));
    byId("exemplar-add").addEventListener("click", () => {
      const label = byId("exemplar-name").value.trim() || t("exemplar.label", { name: stemOf(this.#picture.name) });
      this.#dialog.close();
      hands.add({ kind: "exemplar", picture: this.#picture, box: this.#box }, label);
    });
    this.#listenToPointer();
    this.#stage.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#draw()).observe(this.#stage);
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /**
   * @param {import("./pictures.js").Picture|null} current the page's picture
   * @param {string} label of the query it would join
   */
  open(current, label) {
    this.#current = current;
    byId("exemplar-name").value = label;
    byId("exemplar-name").disabled = label !== "";
    byId("exemplar-current").disabled = current === null;
    this.#dialog.showModal();
    this.show(null);
  }

  /** @param {import("./pictures.js").Picture|null} picture */
  show(picture) {
    this.#picture = picture;
    this.#box = null;
    this.#cursor = null;
    byId("exemplar-none").hidden = picture !== null;
    byId("exemplar-add").disabled = picture === null;
    this.#draw();
  }

  #listenToPointer() {
    const at = (event) => {
      const box = this.#stage.getBoundingClientRect();
      const place = toPicture(this.#view, [event.clientX - box.left, event.clientY - box.top]);
      return clampToPicture(place, this.#picture);
    };
    this.#stage.addEventListener("pointerdown", (event) => {
      if (!this.#picture) return;
      this.#stage.setPointerCapture(event.pointerId);
      this.#corner = at(event);
      this.#setBox(this.#corner);
    });
    this.#stage.addEventListener("pointermove", (event) => this.#corner && this.#setBox(at(event)));
    this.#stage.addEventListener("pointerup", () => this.#finish());
    this.#stage.addEventListener("pointercancel", () => this.#finish());
  }

  /** Arrow keys move a corner, Enter sets it: the first one, then the one across. */
  #onKey(event) {
    const directions = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (!this.#picture || !(event.key in directions || event.key === "Enter")) return;
    event.preventDefault();
    const { width, height } = this.#picture;
    this.#cursor ??= [width / 2, height / 2];
    if (event.key === "Enter") {
      if (this.#corner === null) this.#corner = this.#cursor;
      else this.#finish();
    } else {
      const [dx, dy] = directions[event.key];
      const step = (event.shiftKey ? 1 : KEY_STEP) / this.#view.scale;
      this.#cursor = clampToPicture([this.#cursor[0] + dx * step, this.#cursor[1] + dy * step], this.#picture);
    }
    if (this.#corner !== null) this.#setBox(this.#cursor);
    this.#draw();
  }

  #setBox(to) {
    this.#box = boxOfCorners(this.#corner, to);
    this.#draw();
  }

  #finish() {
    this.#corner = null;
    if (this.#box === null) return;
    const [left, top, right, bottom] = this.#box;
    if (Math.min(right - left, bottom - top) < MIN_SIDE) this.#box = null;
    this.#draw();
  }

  get #view() {
    const size = { width: this.#stage.clientWidth, height: this.#stage.clientHeight };
    return fitView(this.#picture, size, MARGIN);
  }

  #draw() {
    const ratio = devicePixelRatio;
    this.#canvas.width = Math.max(1, this.#stage.clientWidth * ratio);
    this.#canvas.height = Math.max(1, this.#stage.clientHeight * ratio);
    if (!this.#picture) return;
    const { bitmap, width, height } = this.#picture;
    const view = this.#view;
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.drawImage(bitmap, view.x, view.y, width * view.scale, height * view.scale);
    if (this.#box) {
      const [left, top, right, bottom] = this.#box;
      paintBox(context, [...toStage(view, [left, top]), ...toStage(view, [right, bottom])], ACCENT);
    }
    if (this.#cursor) {
      const [x, y] = toStage(view, this.#cursor);
      paintBox(context, [x - 4, y - 4, x + 4, y + 4], ACCENT);
    }
  }
}
