// An exported model (schema promptseg/export-1), computed in the page by onnxruntime-web.

import * as ort from "./ort/ort.wasm.min.mjs";
import { resize, toPixels } from "./pixels.js";
import { tokenize } from "./tokens.js";

ort.env.wasm.numThreads = 1; // more threads need a server that isolates the page (COOP and COEP headers)

const floats = (values, ...shape) => new ort.Tensor("float32", Float32Array.from(values), shape);
const integers = (values, ...shape) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);

export class Model {
  static async load(folder) {
    const read = async (name) => {
      const response = await fetch(`${folder}/${name}`);
      if (!response.ok) throw new Error(`${folder}/${name}: ${response.status}`);
      return response;
    };
    return new Model(folder, await (await read("config.json")).json(), async (name) => (await read(name)).text());
  }

  constructor(folder, config, readText) {
    Object.assign(this, { folder, config, readText, sessions: new Map() });
  }

  // One session a graph, opened when it is first needed.
  async compute(graph, inputs) {
    if (!this.sessions.has(graph)) {
      const { file } = this.config.graphs[graph];
      this.sessions.set(graph, ort.InferenceSession.create(`${this.folder}/${file}`));
    }
    return (await this.sessions.get(graph)).run(inputs);
  }

  // Presence in [0, 1], and the coarse mask: logits minus that of the threshold, {values, width, height}.
  async segmentPhrase(photo, phrase) {
    const { image: facts, thresholds, text } = this.config;
    const scale = (side) => facts.longest_side / (facts.keeps_aspect ? Math.max(photo.width, photo.height) : side);
    const fit = (side) => Math.max(1, Math.round((side * scale(side)) / facts.multiple_of)) * facts.multiple_of;
    const [width, height] = [fit(photo.width), fit(photo.height)];
    const pixels = floats(toPixels(photo, width, height, width, height, facts), 1, 3, height, width);
    const ids = await tokenize(phrase, text, this.readText);
    const tokens = {
      token_ids: integers(ids, 1, ids.length),
      token_mask: new ort.Tensor("bool", new Uint8Array(ids.length).fill(1), [1, ids.length]),
    };
    const features = await this.compute("images", { pixels });
    const { embedding } = await this.compute("texts", tokens);
    const wanted = Object.keys(this.config.graphs.decode.inputs);
    const own = Object.fromEntries(Object.entries(features).filter(([name]) => wanted.includes(name)));
    const found = await this.compute("decode", { ...own, texts: embedding });
    const [, rows, columns] = found.mask_logits.dims;
    const map = resize({ values: found.mask_logits.data, width: columns, height: rows }, photo.width, photo.height);
    const edge = Math.log(thresholds.mask / (1 - thresholds.mask));
    map.values.forEach((value, index) => (map.values[index] = value - edge));
    const evidence = thresholds.presence_scale * found.presence_logit.data[0] + thresholds.presence_shift;
    return { presence: 1 / (1 + Math.exp(-evidence)), map };
  }

  // The masker's mask of the object in a box, pixels of the photo: logits, {values, width, height}.
  async segmentBox(photo, box) {
    const facts = this.config.masker;
    const scale = (side) => facts.longest_side / (facts.keeps_aspect ? Math.max(photo.width, photo.height) : side);
    const [scaleX, scaleY] = [scale(photo.width), scale(photo.height)];
    const [width, height] = [photo.width * scaleX, photo.height * scaleY].map((side) => Math.max(1, Math.round(side)));
    const [canvasWidth, canvasHeight] = [width, height].map((side) => facts.canvas_sides.find((one) => one >= side));
    const pixels = toPixels(photo, width, height, canvasWidth, canvasHeight, facts);
    const features = await this.compute("masker-encode", { pixels: floats(pixels, 1, 3, canvasHeight, canvasWidth) });
    const corners = [box[0] * scaleX, box[1] * scaleY, box[2] * scaleX, box[3] * scaleY, 0, 0];
    const labels = facts.box_labels;
    const [mapWidth, mapHeight] = [canvasWidth / 4, canvasHeight / 4];
    const { masks } = await this.compute("masker-decode", {
      ...features,
      points_xy: floats(corners.slice(0, 2 * labels.length), 1, labels.length, 2),
      point_labels: integers(labels, 1, labels.length),
      coarse_logits: floats(new Float32Array(mapWidth * mapHeight), 1, 1, mapHeight, mapWidth),
      has_coarse: floats([0], 1),
    });
    const covered = { width: (photo.width * scaleX) / facts.mask_stride, height: (photo.height * scaleY) / facts.mask_stride };
    return resize({ values: masks.data, width: mapWidth, height: mapHeight }, photo.width, photo.height, covered);
  }
}

// The box around what is inside a map, right and bottom exclusive; null if nothing is.
export function boxAround({ values, width }) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  values.forEach((value, index) => {
    if (value < 0) return;
    const [x, y] = [index % width, Math.floor(index / width)];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  });
  return right < 0 ? null : [left, top, right + 1, bottom + 1];
}
