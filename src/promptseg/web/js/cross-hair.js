/** The cross-hair: what the arrow keys move in a drawing tool, so that a mouse is not needed. */

import { clampToPicture, toPicture, toStage } from "./geometry.js";

const STEP = 10;
const FINE_STEP = 1;
const PAN_STEP = 60;
// The cross-hair stays this far inside the stage, CSS pixels.
const EDGE = 30;

const DIRECTIONS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export class CrossHair {
  /** @type {import("./geometry.js").PointXy|null} pixels of the picture; null: not in use */
  place = null;

  #stage;

  /** @param {import("./stage.js").Stage} stage */
  constructor(stage) {
    this.#stage = stage;
  }

  /** Move by an arrow key; the first one shows it in the middle of what is in sight. @param {KeyboardEvent} event */
  move({ key, shiftKey }, picture) {
    const step = shiftKey ? FINE_STEP : STEP;
    const [dx, dy] = DIRECTIONS[key];
    const { view, size } = this.#stage;
    const from = this.place === null ? middleInSight(view, size, picture) : toStage(view, this.place);
    const inside = clampToPicture(toPicture(view, [from[0] + dx * step, from[1] + dy * step]), picture);
    // The far edges belong to no pixel.
    this.place = [Math.min(inside[0], picture.width - 0.5), Math.min(inside[1], picture.height - 0.5)];
    this.#keepInSight();
    this.#stage.invalidate();
  }

  hide() {
    this.place = null;
    this.#stage.invalidate();
  }

  #keepInSight() {
    const { size, view } = this.#stage;
    const [x, y] = toStage(view, this.place);
    const over = (value, limit) => Math.min(0, value - EDGE) + Math.max(0, value + EDGE - limit);
    const [dx, dy] = [over(x, size.width), over(y, size.height)];
    if (dx || dy) this.#stage.panBy([-dx, -dy]);
  }
}

/** The middle of what is seen of the picture, CSS pixels of the stage. */
function middleInSight(view, size, picture) {
  const [left, top] = toStage(view, [0, 0]);
  const [right, bottom] = toStage(view, [picture.width, picture.height]);
  const middle = (from, to, end) => (Math.max(0, from) + Math.min(end, to)) / 2;
  return [middle(left, right, size.width), middle(top, bottom, size.height)];
}

/** @param {KeyboardEvent} event @returns {import("./geometry.js").PointXy} how far an arrow key pans, CSS pixels */
export function panOfArrow({ key }) {
  const [dx, dy] = DIRECTIONS[key];
  return [-dx * PAN_STEP, -dy * PAN_STEP];
}
