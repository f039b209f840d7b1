/**
 * The stage: three canvases, one view of the picture, and the loop that draws them when something has changed.
 *
 * @typedef {import("./geometry.js").PointXy} PointXy
 * @typedef {{query: import("./document.js").Query, verdict: import("./verdict.js").Verdict, outlines:
 *   import("./masks.js").Outlines, maskSize: [number, number], caption: string}} Layer
 * @typedef {{picture: import("./pictures.js").Picture|null, layers: Layer[], prompts: import("./document.js").Query[],
 *   activeId: number|null, opacity: number, draft: import("./document.js").Prompt|null, crossHair: PointXy|null}} Scene
 */

import { fitView, panBy, toPicture, toStage, zoomTo } from "./geometry.js";
import { placeChips } from "./chips.js";
import { paintBox, paintChip, paintCrossHair, paintMask, paintPoint, paintStroke } from "./paint.js";
import { colorOf } from "./palette.js";

// From this zoom on, the pixels of the picture are shown as squares.
const PIXELATED_SCALE = 4;

export class Stage {
  /** @type {import("./geometry.js").View} */
  view = { scale: 1, x: 0, y: 0 };
  size = { width: 1, height: 1 };

  #canvases;
  #ratio = 1;
  #scene = null;
  #getScene;
  #frame = 0;
  #fitted = true;
  #onView;

  /**
   * @param {HTMLElement} element holds the three canvases
   * @param {() => Scene} getScene
   * @param {() => void} onView called when the view has changed
   */
  constructor(element, getScene, onView) {
    this.element = element;
    this.#canvases = [...element.querySelectorAll("canvas")];
    this.#getScene = getScene;
    this.#onView = onView;
    new ResizeObserver((entries) => this.#resize(entries.at(-1))).observe(element);
  }

  get #picture() {
    return this.#scene?.picture ?? null;
  }

  /** Draw at the next frame. */
  invalidate() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** @param {MouseEvent} event @returns {PointXy} where it happened, CSS pixels of the stage */
  locate(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** @param {PointXy} place @returns {PointXy} pixels of the picture */
  toPicture(place) {
    return toPicture(this.view, place);
  }

  fit() {
    this.#fitted = true;
    if (this.#picture) this.#setView(fitView(this.#picture, this.size));
  }

  /** @param {number} factor @param {PointXy} [anchor] the place that stays; default: the middle */
  zoomBy(factor, anchor = [this.size.width / 2, this.size.height / 2]) {
    if (!this.#picture) return;
    this.#fitted = false;
    this.#setView(zoomTo(this.view, this.view.scale * factor, anchor, this.#picture, this.size));
  }

  /** @param {PointXy} by CSS pixels */
  panBy(by) {
    if (!this.#picture) return;
    this.#fitted = false;
    this.#setView(panBy(this.view, by, this.#picture, this.size));
  }

  #setView(view) {
    this.view = view;
    this.invalidate();
    this.#onView();
  }

  #resize(entry) {
    const { width, height } = entry.contentRect;
    this.#ratio = devicePixelRatio;
    this.size = { width, height };
    for (const canvas of this.#canvases) {
      canvas.width = Math.max(1, Math.round(width * this.#ratio));
      canvas.height = Math.max(1, Math.round(height * this.#ratio));
    }
    if (this.#fitted) this.fit();
    // Drawn at once: a canvas that was resized is empty until then.
    this.#draw();
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const before = this.#picture;
    this.#scene = this.#getScene();
    if (this.#picture !== before) this.fit();
    const [picture, masks, prompts] = this.#canvases.map((canvas) => this.#start(canvas));
    if (!this.#picture) return;
    this.#drawPicture(picture);
    this.#drawMasks(masks);
    this.#drawPrompts(prompts);
  }

  #start(canvas) {
    const ratio = devicePixelRatio;
    // The ratio changes without the size when a window moves to another screen.
    if (ratio !== this.#ratio) {
      this.#ratio = ratio;
      for (const each of this.#canvases) {
        each.width = Math.round(this.size.width * ratio);
        each.height = Math.round(this.size.height * ratio);
      }
    }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  }

  #drawPicture(context) {
    const { bitmap, width, height } = this.#picture;
    const { scale, x, y } = this.view;
    context.imageSmoothingEnabled = scale < PIXELATED_SCALE;
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, x, y, width * scale, height * scale);
  }

  #drawMasks(context) {
    const { layers, activeId, opacity, picture } = this.#scene;
    const areaOf = ({ outlines: { whole } }) => (whole.box[2] - whole.box[0]) * (whole.box[3] - whole.box[1]);
    context.beginPath();
    context.rect(this.view.x, this.view.y, picture.width * this.view.scale, picture.height * this.view.scale);
    context.save();
    context.clip();
    // Large ones first, so that small ones stay visible.
    for (const layer of [...layers].sort((a, b) => areaOf(b) - areaOf(a))) {
      const [maskHeight, maskWidth] = layer.maskSize;
      const scaleX = (picture.width / maskWidth) * this.view.scale;
      const scaleY = (picture.height / maskHeight) * this.view.scale;
      context.save();
      context.translate(this.view.x, this.view.y);
      context.scale(scaleX, scaleY);
      const { color, id } = layer.query;
      const isUnsure = layer.verdict === "unsure";
      paintMask(context, layer.outlines, { color, opacity, scale: scaleX, isActive: id === activeId, isUnsure });
      context.restore();
    }
    context.restore();
  }

  #drawPrompts(context) {
    const { layers, prompts, activeId, draft, crossHair, picture } = this.#scene;
    for (const { layer, ...chip } of placeChips(context, layers, this.view, picture, this.size)) {
      paintChip(context, layer.caption, layer.query.color, chip);
    }
    for (const query of prompts) {
      for (const prompt of query.prompts) this.#drawPrompt(context, prompt, query.color, query.id === activeId);
    }
    if (draft) this.#drawPrompt(context, draft, 1, true);
    if (crossHair) paintCrossHair(context, toStage(this.view, crossHair));
  }

  #drawPrompt(context, prompt, color, isActive) {
    const place = (point) => toStage(this.view, point);
    if (prompt.kind === "point") paintPoint(context, place(prompt.xy), prompt.positive, isActive);
    if (prompt.kind === "box") {
      const [left, top, right, bottom] = prompt.box;
      paintBox(context, [...place([left, top]), ...place([right, bottom])], colorOf(color));
    }
    if (prompt.kind === "stroke" && isActive) {
      paintStroke(context, prompt.points.map(place), prompt.width * this.view.scale, prompt.positive);
    }
  }
}
