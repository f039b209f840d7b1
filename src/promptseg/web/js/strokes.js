/**
 * Strokes of the brush as prompts: drawn ones as a mask, those beside the object as points.
 *
 * @typedef {{points: import("./geometry.js").PointXy[], width: number}} Stroke pixels of the picture
 */

import { encodeRle } from "./rle.js";

// A mask in a request may have any size of the picture's shape; a scribble needs no more than this.
const MASK_SIDE = 1024;
const MAX_PLACES = 8;

/**
 * Draw strokes into a mask.
 *
 * @param {Stroke[]} strokes
 * @param {import("./geometry.js").Size} picture
 * @returns {import("./rle.js").Rle}
 */
export function strokesToMask(strokes, picture) {
  const scale = Math.min(1, MASK_SIDE / Math.max(picture.width, picture.height));
  const width = Math.max(1, Math.round(picture.width * scale));
  const height = Math.max(1, Math.round(picture.height * scale));
  const mask = new Uint8Array(width * height);
  const scaleX = width / picture.width;
  const scaleY = height / picture.height;
  for (const { points, width: brush } of strokes) {
    const radius = Math.max(0.75, (brush * scale) / 2);
    const scaled = points.map(([x, y]) => [x * scaleX, y * scaleY]);
    scaled.forEach((to, index) => drawSegment(mask, width, height, scaled[Math.max(0, index - 1)], to, radius));
  }
  return encodeRle(mask, [height, width]);
}

/** Set the pixels whose centers lie within the radius of a segment. */
function drawSegment(mask, width, height, [ax, ay], [bx, by], radius) {
  const [dx, dy] = [bx - ax, by - ay];
  const length2 = dx * dx + dy * dy;
  const top = Math.max(0, Math.floor(Math.min(ay, by) - radius));
  const bottom = Math.min(height - 1, Math.ceil(Math.max(ay, by) + radius));
  const left = Math.max(0, Math.floor(Math.min(ax, bx) - radius));
  const right = Math.min(width - 1, Math.ceil(Math.max(ax, bx) + radius));
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
      const along = length2 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length2)) : 0;
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius) mask[y * width + x] = 1;
    }
  }
}

/**
 * Spread points along a stroke, at most eight, the first and the last at its ends.
 *
 * @param {Stroke} stroke
 * @returns {import("./geometry.js").PointXy[]}
 */
export function placesAlong({ points, width }) {
  const lengths = points.map((point, index) => (index ? distance(points[index - 1], point) : 0));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const count = Math.min(MAX_PLACES, 1 + Math.floor(total / (2 * width)));
  if (count < 2) return [points[points.length >> 1]];
  const places = [];
  let index = 1;
  let passed = 0;
  for (let step = 0; step < count; step++) {
    const goal = (total * step) / (count - 1);
    while (index < points.length - 1 && passed + lengths[index] < goal) passed += lengths[index++];
    const share = lengths[index] ? (goal - passed) / lengths[index] : 0;
    const [[ax, ay], [bx, by]] = [points[index - 1], points[index]];
    places.push([ax + (bx - ax) * share, ay + (by - ay) * share]);
  }
  return places;
}

function distance([ax, ay], [bx, by]) {
  return Math.hypot(bx - ax, by - ay);
}
