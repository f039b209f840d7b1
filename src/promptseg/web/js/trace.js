import { traceRings } from "./outline.js";
import { decodeTight } from "./rle.js";

// Cells along the longer side in which the middle of a mask is looked for.
const GRID = 48;

/**
 * Trace the outlines of a code.
 *
 * @param {import("./rle.js").Rle} rle
 * @returns {{rings: import("./outline.js").Ring[], box: import("./rle.js").BoxXyxy, middle: [number, number]}} pixels
 *   of the mask; middle: the place deepest inside
 */
export function traceMask(rle) {
  const { pixels, box } = decodeTight(rle);
  const [left, top, right, bottom] = box;
  const [width, height] = [right - left, bottom - top];
  const rings = traceRings(pixels, width, height);
  for (const ring of rings) {
    for (let index = 0; index < ring.length; index += 2) {
      ring[index] += left;
      ring[index + 1] += top;
    }
  }
  const [x, y] = findMiddle(pixels, width, height);
  return { rings, box, middle: [x + left, y + top] };
}

/** Find the cell of a coarse grid that is farthest from every cell outside, in steps to the eight neighbors. */
function findMiddle(pixels, width, height) {
  const cell = Math.max(1, Math.ceil(Math.max(width, height) / GRID));
  const columns = Math.ceil(width / cell);
  const rows = Math.ceil(height / cell);
  // One ring of cells outside on each side.
  const stride = columns + 2;
  const depth = new Int16Array(stride * (rows + 2));
  let best = 0;
  const isInside = (column, row) => {
    const x = Math.min(width - 1, column * cell + (cell >> 1));
    const y = Math.min(height - 1, row * cell + (cell >> 1));
    return pixels[y * width + x] === 1;
  };
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = (row + 1) * stride + column + 1;
      if (isInside(column, row)) {
        depth[at] = 1 + Math.min(depth[at - 1], depth[at - stride - 1], depth[at - stride], depth[at - stride + 1]);
      }
    }
  }
  for (let at = depth.length - stride - 1; at > stride; at--) {
    if (depth[at] === 0) continue;
    depth[at] = Math.min(
      depth[at],
      1 + Math.min(depth[at + 1], depth[at + stride - 1], depth[at + stride], depth[at + stride + 1]),
    );
    if (depth[at] > depth[best]) best = at;
  }
  const column = (best % stride) - 1;
  const row = Math.floor(best / stride) - 1;
  return best ? [(column + 0.5) * cell, (row + 0.5) * cell] : [width / 2, height / 2];
}
