/**
 * What is being drawn: a point, a box or a stroke, by the mouse, a finger or the cross-hair of the keyboard alike.
 *
 * @typedef {import("./document.js").Prompt} Prompt
 * @typedef {import("./geometry.js").PointXy} PointXy
 */

import { boxOfCorners, clampToPicture, isInPicture } from "./geometry.js";

// A box with a shorter side is a slip of the hand, pixels of the picture.
const MIN_BOX_SIDE = 2;

export class Pen {
  /** @type {Prompt|null} what would come of it if the pen were lifted now; null: the pen is up */
  draft = null;

  #corner = null;

  /**
   * @param {"point"|"box"|"scribble"} tool
   * @param {PointXy} at pixels of the picture
   * @param {boolean} positive
   * @param {import("./geometry.js").Size} picture
   * @param {number} brush width of a stroke, pixels of the picture
   */
  down(tool, at, positive, picture, brush) {
    this.picture = picture;
    this.#corner = clampToPicture(at, picture);
    if (tool === "point") this.draft = isInPicture(at, picture) ? { kind: "point", xy: at, positive } : null;
    else if (tool === "box") this.draft = { kind: "box", box: [...this.#corner, ...this.#corner] };
    else this.draft = { kind: "stroke", points: [this.#corner], width: brush, positive };
  }

  /** @param {PointXy} to pixels of the picture */
  move(to) {
    const point = this.draft && clampToPicture(to, this.picture);
    if (this.draft?.kind === "box") this.draft = { ...this.draft, box: boxOfCorners(this.#corner, point) };
    if (this.draft?.kind === "stroke" && isApart(this.draft.points.at(-1), point, this.draft.width / 4)) {
      this.draft = { ...this.draft, points: [...this.draft.points, point] };
    }
  }

  /** Lift the pen. @returns {Prompt|null} null: nothing came of it */
  up() {
    const prompt = this.draft;
    this.draft = null;
    if (prompt?.kind === "box") {
      const [left, top, right, bottom] = prompt.box;
      return Math.min(right - left, bottom - top) < MIN_BOX_SIDE ? null : prompt;
    }
    if (prompt?.kind === "stroke" && prompt.points.length === 1) return toPoint(prompt, this.picture);
    return prompt;
  }

  cancel() {
    this.draft = null;
  }
}

/** A stroke that never moved is a point; one on the far edge belongs to the last pixel. */
function toPoint({ points: [[x, y]], positive }, { width, height }) {
  return { kind: "point", xy: [Math.min(x, width - 0.5), Math.min(y, height - 0.5)], positive };
}

function isApart([ax, ay], [bx, by], least) {
  return Math.hypot(bx - ax, by - ay) >= least;
}
