/**
 * Where the picture lies on the stage: one scale and one shift, and their inverse.
 *
 * Picture coordinates are pixels of the picture from its top left corner; stage coordinates are CSS pixels from the
 * stage's top left corner. The pixels of the screen appear nowhere here: only the canvases know them.
 *
 * @typedef {{scale: number, x: number, y: number}} View stage = picture * scale + (x, y)
 * @typedef {{width: number, height: number}} Size
 * @typedef {[number, number]} PointXy
 */

export const MAX_SCALE = 32;
const MAX_FIT_SCALE = 4;
// What floats over the stage: the tools beside the picture, the history and the zoom below it, CSS pixels.
const MARGIN = { side: 84, top: 20, bottom: 72 };
// A narrow stage has the tools above the picture.
const NARROW = 640;
const NARROW_MARGIN = { side: 12, top: 80, bottom: 80 };
// What must stay on the stage of a picture that is dragged away, CSS pixels.
const GRIP = 64;

/**
 * Show the whole picture in the middle of what is free.
 *
 * @param {Size} picture
 * @param {Size} stage
 * @param {{side: number, top: number, bottom: number}} [margin]
 * @returns {View}
 */
export function fitView(picture, stage, margin = stage.width < NARROW ? NARROW_MARGIN : MARGIN) {
  const free = {
    width: Math.max(1, stage.width - 2 * margin.side),
    height: Math.max(1, stage.height - margin.top - margin.bottom),
  };
  const scale = Math.min(free.width / picture.width, free.height / picture.height, MAX_FIT_SCALE);
  return {
    scale,
    x: (stage.width - picture.width * scale) / 2,
    y: margin.top + (free.height - picture.height * scale) / 2,
  };
}

/** @param {View} view @param {PointXy} point @returns {PointXy} */
export function toPicture(view, [x, y]) {
  return [(x - view.x) / view.scale, (y - view.y) / view.scale];
}

/** @param {View} view @param {PointXy} point @returns {PointXy} */
export function toStage(view, [x, y]) {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

/**
 * Zoom, with one point of the stage staying where it is.
 *
 * @param {View} view
 * @param {number} scale
 * @param {PointXy} anchor stage coordinates
 * @param {Size} picture
 * @param {Size} stage
 * @returns {View}
 */
export function zoomTo(view, scale, anchor, picture, stage) {
  const least = Math.min(fitView(picture, stage).scale / 2, 1);
  const limited = Math.min(MAX_SCALE, Math.max(least, scale));
  const [x, y] = toPicture(view, anchor);
  return keepInReach({ scale: limited, x: anchor[0] - x * limited, y: anchor[1] - y * limited }, picture, stage);
}

/** @param {View} view @param {PointXy} by @param {Size} picture @param {Size} stage @returns {View} */
export function panBy(view, [dx, dy], picture, stage) {
  return keepInReach({ ...view, x: view.x + dx, y: view.y + dy }, picture, stage);
}

function keepInReach(view, picture, stage) {
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  return {
    scale: view.scale,
    x: clamp(view.x, GRIP - picture.width * view.scale, stage.width - GRIP),
    y: clamp(view.y, GRIP - picture.height * view.scale, stage.height - GRIP),
  };
}

/** @param {PointXy} point @param {Size} picture @returns {boolean} */
export function isInPicture([x, y], picture) {
  return x >= 0 && y >= 0 && x < picture.width && y < picture.height;
}

/** @param {PointXy} point @param {Size} picture @returns {PointXy} the nearest point of the picture */
export function clampToPicture([x, y], picture) {
  return [Math.min(Math.max(x, 0), picture.width), Math.min(Math.max(y, 0), picture.height)];
}

/** @param {PointXy} a @param {PointXy} b @returns {[number, number, number, number]} left, top, right, bottom */
export function boxOfCorners([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}
