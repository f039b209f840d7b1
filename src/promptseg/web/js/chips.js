/** Where the labels of the masks go on the stage. */

import { measureChip } from "./paint.js";

const GAP = 4;
const MAX_TRIES = 12;
// A label is written inside an object that is so many times larger than it, else above the object.
const ROOM = { width: 1.4, height: 2.5 };

/**
 * Place a chip in the middle of each mask's largest object, or above a small one; none over another.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./stage.js").Layer[]} layers
 * @param {import("./geometry.js").View} view
 * @param {import("./geometry.js").Size} picture
 * @param {import("./geometry.js").Size} stage
 * @returns {{layer: import("./stage.js").Layer, left: number, top: number, width: number, height: number}[]}
 */
export function placeChips(context, layers, view, picture, stage) {
  const placed = [];
  for (const layer of layers.filter(({ outlines }) => outlines.whole.box[2] > 0)) {
    const { box, middle } = onStage(layer, view, picture);
    // An object that is not in sight has no label.
    if (box[2] < 0 || box[3] < 0 || box[0] > stage.width || box[1] > stage.height) continue;
    const chip = { layer, ...place(measureChip(context, layer.caption), box, middle, stage) };
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const other = placed.find((each) => overlap(each, chip));
      if (!other) break;
      chip.top = other.top + other.height + GAP;
    }
    placed.push(chip);
  }
  return placed;
}

function place({ width, height }, [left, top, right, bottom], [x, y], stage) {
  const hasRoom = right - left > ROOM.width * width && bottom - top > ROOM.height * height;
  const wishedLeft = (hasRoom ? x : (left + right) / 2) - width / 2;
  const wishedTop = hasRoom ? y - height / 2 : top - height - GAP;
  return {
    width,
    height,
    left: clamp(wishedLeft, GAP, stage.width - width - GAP),
    top: clamp(wishedTop, GAP, stage.height - height - GAP),
  };
}

/** The largest object of a layer in CSS pixels of the stage. */
function onStage({ outlines, maskSize: [maskHeight, maskWidth] }, view, picture) {
  const areaOf = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top);
  const { box, middle } = outlines.objects.reduce((largest, object) =>
    areaOf(object) > areaOf(largest) ? object : largest,
  );
  const scaleX = (picture.width / maskWidth) * view.scale;
  const scaleY = (picture.height / maskHeight) * view.scale;
  const place = ([x, y]) => [x * scaleX + view.x, y * scaleY + view.y];
  return { box: [...place(box.slice(0, 2)), ...place(box.slice(2))], middle: place(middle) };
}

function overlap(a, b) {
  return a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(value, high));
}
