/**
 * The outlines of a mask: closed rings of pixel corners that enclose exactly its pixels.
 *
 * @typedef {Int32Array} Ring x, y, x, y, ... without repeating the first corner; the mask lies on the right of each
 *   edge, so that with y downwards outer rings run clockwise and holes counter-clockwise
 */

const RIGHT = 0;
const DOWN = 1;
const LEFT = 2;
const UP = 3;
const STEP_X = [1, 0, -1, 0];
const STEP_Y = [0, 1, 0, -1];

/**
 * Follow every edge between mask and background once.
 *
 * @param {Uint8Array} mask height * width pixels, 0 or 1
 * @param {number} width
 * @param {number} height
 * @returns {Ring[]} pixels that touch only at a corner are kept apart
 */
export function traceRings(mask, width, height) {
  const isInside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === 1;
  // Every ring has a top edge, which runs to the right: so only these need a mark.
  const seen = new Uint8Array(width * height);
  const rings = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width; x < width; x++, at++) {
      if (mask[at] && !seen[at] && (y === 0 || !mask[at - width])) rings.push(traceRing(x, y, isInside, seen, width));
    }
  }
  return rings;
}

function traceRing(startX, startY, isInside, seen, width) {
  const corners = [];
  let x = startX;
  let y = startY;
  let direction = RIGHT;
  do {
    if (direction === RIGHT) seen[y * width + x] = 1;
    x += STEP_X[direction];
    y += STEP_Y[direction];
    const next = turn(x, y, direction, isInside);
    if (next !== direction) corners.push(x, y);
    direction = next;
  } while (x !== startX || y !== startY || direction !== RIGHT);
  return Int32Array.from(corners);
}

/** Where the edge goes on at a corner, with the mask on its right. */
function turn(x, y, direction, isInside) {
  const [rightX, rightY, leftX, leftY] = PIXELS_AHEAD[direction];
  if (!isInside(x + rightX, y + rightY)) return (direction + 1) % 4;
  return isInside(x + leftX, y + leftY) ? (direction + 3) % 4 : direction;
}

/** The two pixels ahead of a corner, right and left of the direction of travel, as steps from the corner. */
const PIXELS_AHEAD = [];
PIXELS_AHEAD[RIGHT] = [0, 0, 0, -1];
PIXELS_AHEAD[DOWN] = [-1, 0, 0, 0];
PIXELS_AHEAD[LEFT] = [-1, -1, -1, 0];
PIXELS_AHEAD[UP] = [0, -1, -1, -1];

/**
 * Twice the signed area of a ring: positive for an outer ring, negative for a hole.
 *
 * @param {Ring} ring
 * @returns {number}
 */
export function signedArea(ring) {
  let area = 0;
  for (let index = 0, last = ring.length - 2; index < ring.length; last = index, index += 2) {
    area += ring[last] * ring[index + 1] - ring[index] * ring[last + 1];
  }
  return area;
}

/**
 * Join the rings of a mask to polygons: each outer ring with the holes in it.
 *
 * @param {Ring[]} rings
 * @returns {{outer: Ring, holes: Ring[]}[]}
 */
export function groupRings(rings) {
  const polygons = rings.filter((ring) => signedArea(ring) > 0).map((outer) => ({ outer, holes: [] }));
  const bySize = [...polygons].sort((a, b) => signedArea(a.outer) - signedArea(b.outer));
  for (const hole of rings.filter((ring) => signedArea(ring) < 0)) {
    // Just inside the mask beside the hole: its first edge has the mask on the right.
    bySize.find(({ outer }) => isInRing(outer, ...beside(hole)))?.holes.push(hole);
  }
  return polygons;
}

function beside(ring) {
  const [x, y, nextX, nextY] = ring;
  const stepX = Math.sign(nextX - x);
  const stepY = Math.sign(nextY - y);
  return [x + (stepX - stepY) / 2, y + (stepY + stepX) / 2];
}

function isInRing(ring, x, y) {
  let inside = false;
  for (let index = 0, last = ring.length - 2; index < ring.length; last = index, index += 2) {
    const [fromX, fromY, toX, toY] = [ring[last], ring[last + 1], ring[index], ring[index + 1]];
    if (fromY > y !== toY > y && x < fromX + ((y - fromY) * (toX - fromX)) / (toY - fromY)) inside = !inside;
  }
  return inside;
}
