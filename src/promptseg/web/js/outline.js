/**
 * The outlines of a mask: closed rings of pixel corners that enclose exactly its pixels.
 *
 * @typedef {Int32Array} Ring x, y, x, y, ... without repeating the first corner; the mask lies on the right of each
 *   edge, so that with y downwards outer rings run clockwise and holes counter-clockwise
 */

const [RIGHT, DOWN, LEFT, UP] = [0, 1, 2, 3];

/**
 * Follow every edge between mask and background once.
 *
 * @param {Uint8Array} mask height * width pixels, 0 or 1
 * @param {number} width
 * @param {number} height
 * @returns {Ring[]} pixels that touch only at a corner are kept apart
 */
export function traceRings(mask, width, height) {
  // With a frame of background, no step has to look whether it leaves the mask.
  const stride = width + 2;
  const framed = new Uint8Array(stride * (height + 2));
  for (let y = 0; y < height; y++) framed.set(mask.subarray(y * width, (y + 1) * width), (y + 1) * stride + 1);
  // Every ring has a top edge, which runs to the right: so only these need a mark.
  const seen = new Uint8Array(framed.length);
  const rings = [];
  for (let at = stride; at < framed.length - stride; at++) {
    if (framed[at] && !framed[at - stride] && !seen[at]) rings.push(traceRing(at, framed, seen, stride));
  }
  return rings;
}

/** Follow one ring from the corner at the top left of a pixel; a corner has the index of the pixel right below it. */
function traceRing(start, framed, seen, stride) {
  const step = [];
  step[RIGHT] = 1;
  step[DOWN] = stride;
  step[LEFT] = -1;
  step[UP] = -stride;
  // The two pixels ahead of a corner, on the right and on the left of the direction of travel.
  const right = [];
  const left = [];
  [right[RIGHT], left[RIGHT]] = [0, -stride];
  [right[DOWN], left[DOWN]] = [-1, 0];
  [right[LEFT], left[LEFT]] = [-stride - 1, -1];
  [right[UP], left[UP]] = [-stride, -stride - 1];
  const corners = [];
  let at = start;
  let direction = RIGHT;
  do {
    if (direction === RIGHT) seen[at] = 1;
    at += step[direction];
    let next = direction;
    if (!framed[at + right[direction]]) next = (direction + 1) % 4;
    else if (framed[at + left[direction]]) next = (direction + 3) % 4;
    if (next !== direction) corners.push((at % stride) - 1, Math.floor(at / stride) - 1);
    direction = next;
  } while (at !== start || direction !== RIGHT);
  return Int32Array.from(corners);
}

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
