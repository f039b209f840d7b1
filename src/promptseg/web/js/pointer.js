/**
 * Mouse, pen and fingers on the stage: drawing with the tool, panning, and zooming by wheel and by two fingers.
 *
 * @typedef {import("./geometry.js").PointXy} PointXy
 */

// A pointer that moved less was a click, CSS pixels.
const CLICK_SLOP = 5;
const WHEEL_SPEED = 0.0015;
// A wheel that counts lines, not pixels.
const LINE_HEIGHT = 30;

export class Pointer {
  #stage;
  #hands;
  #fingers = new Map();
  #gesture = null;
  #start = [0, 0];

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {{isOpen: () => boolean, isPanning: () => boolean, isPointTool: () => boolean,
   *   isNegative: (event: PointerEvent) => boolean, down: (at: PointXy, positive: boolean) => void,
   *   move: (to: PointXy) => void, up: () => void, cancel: () => void}} hands places are pixels of the picture
   */
  constructor(stage, hands) {
    this.#stage = stage;
    this.#hands = hands;
    const on = (name, listener, options) => stage.element.addEventListener(name, listener, options);
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#lose(event));
    on("contextmenu", (event) => hands.isOpen() && event.preventDefault());
    on("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Forget the gesture that is under way: Escape. */
  cancel() {
    if (this.#gesture === "draw") this.#hands.cancel();
    this.#gesture = null;
  }

  #down(event) {
    if (!this.#hands.isOpen()) return;
    const place = this.#stage.locate(event);
    this.#fingers.set(event.pointerId, place);
    this.#stage.element.setPointerCapture(event.pointerId);
    if (this.#fingers.size === 2) {
      this.cancel();
      this.#gesture = "pinch";
    } else if (this.#fingers.size === 1) {
      this.#start = place;
      const pans = event.button === 1 || this.#hands.isPanning();
      this.#gesture = pans ? "pan" : "draw";
      if (!pans) this.#hands.down(this.#stage.toPicture(place), !this.#hands.isNegative(event));
    }
  }

  #move(event) {
    const before = this.#fingers.get(event.pointerId);
    if (!before) return;
    const place = this.#stage.locate(event);
    if (this.#gesture === "draw" && this.#hands.isPointTool() && distance(this.#start, place) > CLICK_SLOP) {
      // Nobody draws with the point tool: who drags means the picture.
      this.cancel();
      this.#gesture = "pan";
    }
    if (this.#gesture === "pinch") this.#pinch(event.pointerId, before, place);
    else if (this.#gesture === "pan") this.#stage.panBy([place[0] - before[0], place[1] - before[1]]);
    else if (this.#gesture === "draw") this.#hands.move(this.#stage.toPicture(place));
    this.#fingers.set(event.pointerId, place);
  }

  #up(event) {
    if (!this.#fingers.delete(event.pointerId)) return;
    if (this.#gesture === "draw") this.#hands.up();
    // The second finger of a pinch may stay: it does not draw.
    if (this.#gesture !== "pinch" || this.#fingers.size === 0) this.#gesture = null;
  }

  #lose(event) {
    this.#fingers.delete(event.pointerId);
    this.cancel();
  }

  #pinch(id, before, place) {
    const other = [...this.#fingers].find(([each]) => each !== id)?.[1];
    if (!other) return;
    const middle = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
    const [fromX, fromY] = middle(before, other);
    const [toX, toY] = middle(place, other);
    this.#stage.panBy([toX - fromX, toY - fromY]);
    this.#stage.zoomBy(distance(place, other) / Math.max(1, distance(before, other)), [toX, toY]);
  }

  #wheel(event) {
    if (!this.#hands.isOpen()) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_HEIGHT : 1);
    // A pinch on a touch pad comes as a wheel with Ctrl, in small steps.
    const speed = event.ctrlKey ? 5 * WHEEL_SPEED : WHEEL_SPEED;
    this.#stage.zoomBy(Math.exp(-pixels * speed), this.#stage.locate(event));
  }
}

function distance([ax, ay], [bx, by]) {
  return Math.hypot(bx - ax, by - ay);
}
