/**
 * Outlines of the answers, ready to be drawn: traced by the worker, kept while the answer lives.
 *
 * @typedef {{path: Path2D, smooth: Path2D, box: import("./rle.js").BoxXyxy, middle: [number, number]}} Outline
 *   pixels of the mask
 * @typedef {{whole: Outline, objects: Outline[]}} Outlines
 */

// How far a rounded corner reaches along its edges, pixels of the mask.
const ROUNDING = 2;

export class Masks {
  #worker = new Worker(new URL("./mask-worker.js", import.meta.url), { type: "module" });
  #outlines = new WeakMap();
  #waiting = new Map();
  #nextTicket = 1;
  #onChange;

  /** @param {() => void} onChange called when outlines have come in */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#worker.addEventListener("message", ({ data }) => this.#take(data));
  }

  /** Whether every outline that was asked for is here. */
  get isIdle() {
    return this.#waiting.size === 0;
  }

  /**
   * Give the outlines of a result, or null while they are being traced.
   *
   * @param {object} result of the server
   * @returns {Outlines|null}
   */
  outlinesOf(result) {
    const known = this.#outlines.get(result);
    if (known === undefined) this.#trace(result);
    return known ?? null;
  }

  #trace(result) {
    const objects = result.instances ?? [];
    const parts = objects.map((object) => object.mask);
    // One object is the whole mask, as a rule: there is nothing to trace twice.
    const rles = result.mask ? [result.mask, ...(parts.length > 1 ? parts : [])] : parts;
    const ticket = this.#nextTicket++;
    this.#outlines.set(result, null);
    this.#waiting.set(ticket, result);
    this.#worker.postMessage({ ticket, rles });
  }

  #take({ ticket, outlines }) {
    const result = this.#waiting.get(ticket);
    this.#waiting.delete(ticket);
    const traced = outlines.map(toOutline);
    const [whole, ...objects] = result.mask ? traced : [join(traced), ...traced];
    this.#outlines.set(result, { whole, objects: objects.length ? objects : [whole] });
    this.#onChange();
  }
}

/** Make paths of traced rings. @param {ReturnType<import("./trace.js").traceMask>} traced @returns {Outline} */
export function toOutline({ rings, box, middle }) {
  const path = new Path2D();
  const smooth = new Path2D();
  for (const ring of rings) {
    addExact(path, ring);
    addRounded(smooth, ring);
  }
  return { path, smooth, box, middle };
}

/** Make one outline of several that have no pixel in common, the largest first. */
function join(outlines) {
  const path = new Path2D();
  const smooth = new Path2D();
  for (const outline of outlines) {
    path.addPath(outline.path);
    smooth.addPath(outline.smooth);
  }
  const edge = (side, choose) => choose(...outlines.map((outline) => outline.box[side]));
  const box = [edge(0, Math.min), edge(1, Math.min), edge(2, Math.max), edge(3, Math.max)];
  return { path, smooth, box, middle: outlines[0].middle };
}

function addExact(path, ring) {
  path.moveTo(ring[0], ring[1]);
  for (let index = 2; index < ring.length; index += 2) path.lineTo(ring[index], ring[index + 1]);
  path.closePath();
}

/** Round the corners of the pixels; the line stays within a pixel of the mask's edge. */
function addRounded(path, ring) {
  const count = ring.length;
  for (let index = 0; index < count; index += 2) {
    const [x, y] = [ring[index], ring[index + 1]];
    const before = (index + count - 2) % count;
    const after = (index + 2) % count;
    const [startX, startY] = towards(x, y, ring[before], ring[before + 1]);
    const [endX, endY] = towards(x, y, ring[after], ring[after + 1]);
    if (index === 0) path.moveTo(startX, startY);
    else path.lineTo(startX, startY);
    path.quadraticCurveTo(x, y, endX, endY);
  }
  path.closePath();
}

function towards(x, y, toX, toY) {
  const length = Math.abs(toX - x) + Math.abs(toY - y);
  const share = Math.min(length / 2, ROUNDING) / length;
  return [x + (toX - x) * share, y + (toY - y) * share];
}
