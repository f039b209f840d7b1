/** How pictures, masks and prompts are drawn. Every function draws in the pixels of the picture or of the stage. */

import { colorOf, inkOn } from "./palette.js";

// From this many CSS pixels for a pixel of the mask on, the pixels themselves are shown.
const EXACT_SCALE = 5;
const FONT = "600 12px Inter, system-ui, sans-serif";

/**
 * Draw one query's masks: a tint, and the outline of each object.
 *
 * @param {CanvasRenderingContext2D} context in pixels of the mask
 * @param {import("./masks.js").Outlines} outlines
 * @param {{color: number, opacity: number, scale: number, isActive?: boolean, isUnsure?: boolean}} look scale: CSS
 *   pixels for a pixel of the mask; the outline of an unsure object is dashed
 */
export function paintMask(context, { whole, objects }, { color, opacity, scale, isActive = false, isUnsure = false }) {
  const shape = (outline) => (scale >= EXACT_SCALE ? outline.path : outline.smooth);
  context.fillStyle = colorOf(color);
  context.globalAlpha = opacity;
  context.fill(shape(whole));
  context.globalAlpha = 1;
  if (isActive) paintHatch(context, shape(whole), color, scale);
  context.lineJoin = "round";
  for (const object of objects) {
    context.lineWidth = (isActive ? 5 : 3.5) / scale;
    context.strokeStyle = "rgb(255 255 255 / 0.55)";
    context.stroke(shape(object));
    context.lineWidth = (isActive ? 2.5 : 1.75) / scale;
    context.strokeStyle = colorOf(color);
    context.setLineDash(isUnsure ? [7 / scale, 5 / scale] : []);
    context.stroke(shape(object));
    context.setLineDash([]);
  }
}

/** Lines over the active query, so that color alone does not tell which one it is. */
function paintHatch(context, shape, color, scale) {
  const side = 12;
  const tile = new OffscreenCanvas(side, side);
  const pen = tile.getContext("2d");
  pen.strokeStyle = inkOn(color) === "#000" ? "rgb(0 0 0 / 0.4)" : "rgb(255 255 255 / 0.5)";
  pen.lineWidth = 1.25;
  for (const shift of [-side, 0, side]) {
    pen.moveTo(shift, side);
    pen.lineTo(shift + side, 0);
  }
  pen.stroke();
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  context.fillStyle = pattern;
  context.fill(shape);
}

/**
 * Write a label on a chip, its tip at a place of the stage.
 *
 * @param {CanvasRenderingContext2D} context in CSS pixels of the stage
 * @param {string} text
 * @param {number} color
 * @param {{left: number, top: number, width: number, height: number}} chip
 */
export function paintChip(context, text, color, { left, top, width, height }) {
  context.font = FONT;
  context.fillStyle = colorOf(color);
  context.beginPath();
  context.roundRect(left, top, width, height, 6);
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = "rgb(255 255 255 / 0.7)";
  context.stroke();
  context.fillStyle = inkOn(color);
  context.textBaseline = "middle";
  context.fillText(text, left + 7, top + height / 2 + 0.5);
}

/** @param {CanvasRenderingContext2D} context @param {string} text @returns {{width: number, height: number}} */
export function measureChip(context, text) {
  context.font = FONT;
  return { width: Math.ceil(context.measureText(text).width) + 14, height: 22 };
}

/**
 * Draw a point of a click: a ring with its sign.
 *
 * @param {CanvasRenderingContext2D} context in CSS pixels of the stage
 * @param {[number, number]} place
 * @param {boolean} positive
 * @param {boolean} isActive whether its query is the active one
 */
export function paintPoint(context, [x, y], positive, isActive) {
  const radius = isActive ? 8 : 6;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = positive ? "#12803c" : "#c4262e";
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "#fff";
  context.stroke();
  const arm = radius / 2;
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  if (positive) {
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
  }
  context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context in CSS pixels of the stage
 * @param {[number, number, number, number]} box
 * @param {string} color
 */
export function paintBox(context, [left, top, right, bottom], color) {
  for (const [style, width, dash] of [
    ["rgb(255 255 255 / 0.9)", 3.5, []],
    [color, 2, [7, 4]],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.strokeRect(left, top, right - left, bottom - top);
  }
  context.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} context in CSS pixels of the stage
 * @param {[number, number][]} points
 * @param {number} width
 * @param {boolean} positive
 */
export function paintStroke(context, points, width, positive) {
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points) context.lineTo(...point);
  context.lineCap = "round";
  context.lineJoin = "round";
  context.globalAlpha = 0.85;
  context.lineWidth = Math.max(3, width) + 3;
  context.strokeStyle = "#fff";
  context.stroke();
  context.lineWidth = Math.max(3, width);
  context.strokeStyle = positive ? "#12803c" : "#c4262e";
  context.stroke();
  context.globalAlpha = 1;
}

/**
 * Draw the cross-hair that the arrow keys move.
 *
 * @param {CanvasRenderingContext2D} context in CSS pixels of the stage
 * @param {[number, number]} place
 */
export function paintCrossHair(context, [x, y]) {
  context.beginPath();
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    context.moveTo(x + 5 * dx, y + 5 * dy);
    context.lineTo(x + 20 * dx, y + 20 * dy);
  }
  context.lineCap = "round";
  for (const [style, width] of [
    ["#fff", 5],
    ["#1b1d22", 2],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
}
