/** Pictures to take home: the annotated picture, and what a mask cuts out of it. */

import { placeChips } from "../chips.js";
import { toOutline } from "../masks.js";
import { paintChip, paintMask } from "../paint.js";
import { traceMask } from "../trace.js";
import { percent } from "../i18n.js";

// Lines and labels are drawn as if the longer side had so many CSS pixels.
const DRAWN_SIDE = 1000;

/**
 * Draw masks, outlines and labels over the whole picture.
 *
 * @param {import("../pictures.js").Picture} picture
 * @param {import("./files.js").Taken[]} taken
 * @param {number} opacity
 * @returns {Promise<Blob>} PNG
 */
export function drawOverlay({ bitmap, width, height }, taken, opacity) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const layers = taken.map(({ query, result }) => toLayer(query, result)).sort((a, b) => b.area - a.area);
  const scale = DRAWN_SIDE / Math.max(width, height);
  for (const { query, outlines } of layers) {
    paintMask(context, outlines, { color: query.color, opacity, scale });
  }
  context.scale(1 / scale, 1 / scale);
  const stage = { width: width * scale, height: height * scale };
  const drawn = { width, height };
  for (const { layer, ...chip } of placeChips(context, layers, { scale, x: 0, y: 0 }, drawn, stage)) {
    paintChip(context, layer.caption, layer.query.color, chip);
  }
  return canvas.convertToBlob({ type: "image/png" });
}

function toLayer(query, result) {
  const rles = result.instances.length > 1 ? result.instances.map((instance) => instance.mask) : [];
  const [whole, ...objects] = [result.mask, ...rles].map((rle) => toOutline(traceMask(rle)));
  return {
    query,
    area: result.area,
    outlines: { whole, objects: objects.length ? objects : [whole] },
    maskSize: result.mask.size,
    caption: `${query.label} ${percent(result.presence)}`,
  };
}

/**
 * Cut what is in a mask out of the picture; everything else is transparent.
 *
 * @param {ImageBitmap} bitmap
 * @param {Uint8Array} mask of the picture's size
 * @param {import("../rle.js").BoxXyxy} box that holds the mask
 * @param {[number, number]} size [height, width]
 * @returns {Promise<Blob>} PNG of the size of the box
 */
export function drawCutOut(bitmap, mask, [left, top, right, bottom], [, width]) {
  const canvas = new OffscreenCanvas(right - left, bottom - top);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, -left, -top);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let y = top, at = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, at += 4) if (!mask[y * width + x]) pixels.data.fill(0, at, at + 4);
  }
  context.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
