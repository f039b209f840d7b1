/**
 * What can be taken home: masks, cut-outs, the annotated picture, and the files of labeling tools. Names and layouts
 * are those of the command line, so that promptseg reads them back; see docs/formats.md.
 *
 * @typedef {{query: import("../document.js").Query, result: object, mask: Uint8Array}} Taken
 *   a query to export, its answer at full size, and its mask of the picture's size
 * @typedef {{picture: import("../pictures.js").Picture, taken: Taken[], size: [number, number], answer: object,
 *   opacity: number}} Work size is [height, width]; answer: facts of the model
 * @typedef {{name: string, blob: Blob}} File
 */

import { stemOf } from "../pictures.js";
import { areaOfRle, decodeRle, decodeTight } from "../rle.js";
import { encodeBrush } from "./brush.js";
import { drawCutOut, drawOverlay } from "./drawings.js";
import { toFeatures } from "./geojson.js";
import { encodeMaskPng } from "./png.js";
import { zip } from "./zip.js";

/** The formats in the order of the menu; each makes one file. @type {Object<string, (work: Work) => Promise<File>>} */
export const FORMATS = {
  masks: exportMasks,
  cutouts: exportCutOuts,
  overlay: exportOverlay,
  json: exportJson,
  coco: exportCoco,
  labelstudio: exportLabelStudio,
  polygons: exportGeoJson,
};

async function exportMasks({ picture, taken, size: [height, width] }) {
  const files = await Promise.all(
    taken.map(async ({ query, mask }, index) => ({
      name: fileName("mask", index, query.label),
      blob: await encodeMaskPng(mask, width, height),
    })),
  );
  return oneOrZip(picture, "masks", files);
}

async function exportCutOuts({ picture, taken, size }) {
  const cut = taken.filter(({ result }) => result.area > 0);
  const files = await Promise.all(
    cut.map(async ({ query, result, mask }, index) => ({
      name: fileName("cutout", index, query.label),
      blob: await drawCutOut(picture.bitmap, mask, decodeTight(result.mask).box, size),
    })),
  );
  return oneOrZip(picture, "cutouts", files);
}

async function exportOverlay({ picture, taken, opacity }) {
  return { name: `${stemOf(picture.name)}-overlay.png`, blob: await drawOverlay(picture, taken, opacity) };
}

async function exportJson({ picture, taken, size, answer }) {
  const document = {
    schema: "promptseg/segmentation-1",
    model: answer.model,
    fingerprint: answer.fingerprint,
    size_hw: size,
    presence_threshold: answer.presence_threshold,
    mask_threshold: answer.mask_threshold,
    results: taken.map(({ result }) => ({
      label: result.label,
      presence: result.presence,
      is_present: result.presence >= answer.presence_threshold,
      mask: result.mask,
      instances: result.instances.map(({ box_xyxy, score, mask, mask_quality }) => ({
        box_xyxy,
        score,
        mask,
        ...(mask_quality === undefined ? {} : { mask_quality }),
      })),
    })),
    image: { source: picture.name, size_hw: size },
  };
  return { name: `${stemOf(picture.name)}.json`, blob: jsonBlob(document, 2) };
}

async function exportCoco(work) {
  const [height, width] = work.size;
  const { classes, objects } = listObjects(work);
  const annotations = objects.map(({ label, instance }, index) => {
    const [left, top, right, bottom] = instance.box_xyxy;
    return {
      id: index + 1,
      image_id: 1,
      category_id: classes.indexOf(label) + 1,
      bbox: [left, top, right - left, bottom - top],
      area: areaOfRle(instance.mask),
      iscrowd: 0,
      segmentation: instance.mask,
      score: instance.score,
      ...(instance.mask_quality === undefined ? {} : { mask_quality: instance.mask_quality }),
    };
  });
  const document = {
    images: [{ id: 1, file_name: pictureName(work.picture), height, width }],
    annotations,
    categories: classes.map((name, index) => ({ id: index + 1, name, supercategory: "" })),
  };
  return dataSet(work, "coco", classes, { "annotations/instances.json": jsonBlob(document) });
}

async function exportLabelStudio(work) {
  const [height, width] = work.size;
  const { classes, objects } = listObjects(work);
  const result = objects.map(({ label, instance }, index) => ({
    id: `object-${index}`,
    type: "brushlabels",
    from_name: "label",
    to_name: "image",
    original_width: width,
    original_height: height,
    image_rotation: 0,
    score: instance.score,
    ...(instance.mask_quality === undefined ? {} : { meta: { mask_quality: instance.mask_quality } }),
    value: { format: "rle", rle: encodeBrush(decodeRle(instance.mask)), brushlabels: [label] },
  }));
  const name = pictureName(work.picture);
  const task = {
    data: { image: `/data/local-files/?d=images/${encodeURIComponent(name)}`, file_name: name, width, height },
    predictions: [
      { model_version: "promptseg", score: Math.max(0, ...objects.map(({ instance }) => instance.score)), result },
    ],
  };
  const config = labelConfig(classes);
  return dataSet(work, "labelstudio", classes, { "tasks.json": jsonBlob([task]), "label_config.xml": config });
}

async function exportGeoJson(work) {
  const { classes, objects } = listObjects(work);
  const document = {
    type: "FeatureCollection",
    features: toFeatures(objects, classes),
    picture: { file_name: pictureName(work.picture), size_hw: work.size, coordinates: "pixel" },
  };
  return { name: `${stemOf(work.picture.name)}.geojson`, blob: jsonBlob(document) };
}

/** Every object of every query, and the names that there are. */
function listObjects({ taken }) {
  const classes = [...new Set(taken.map(({ query }) => query.label))];
  const objects = taken.flatMap(({ query, result }) =>
    result.instances.map((instance) => ({ label: query.label, instance })),
  );
  return { classes, objects };
}

/** A data set of one picture, as `promptseg` and the tool read it: the picture, the names and the index. */
async function dataSet({ picture }, kind, classes, indexes) {
  const files = [
    ...Object.entries(indexes).map(([name, blob]) => ({ name, blob })),
    { name: "classes.txt", blob: new Blob(classes.map((name) => `${name}\n`)) },
    { name: `images/${pictureName(picture)}`, blob: picture.blob },
  ];
  return { name: `${stemOf(picture.name)}-${kind}.zip`, blob: await zip(files) };
}

function labelConfig(classes) {
  const document = new DOMParser().parseFromString(
    '<View><Image name="image" value="$image" zoom="true"/></View>',
    "text/xml",
  );
  const labels = document.createElement("BrushLabels");
  labels.setAttribute("name", "label");
  labels.setAttribute("toName", "image");
  for (const name of classes) {
    const label = document.createElement("Label");
    label.setAttribute("value", name);
    labels.append(label);
  }
  document.documentElement.append(labels);
  return new Blob([new XMLSerializer().serializeToString(document), "\n"], { type: "application/xml" });
}

async function oneOrZip(picture, kind, files) {
  const stem = stemOf(picture.name);
  if (files.length === 1) return { name: `${stem}-${files[0].name}`, blob: files[0].blob };
  return { name: `${stem}-${kind}.zip`, blob: await zip(files) };
}

function fileName(kind, index, label) {
  return `${kind}-${String(index).padStart(3, "0")}-${slug(label)}.png`;
}

/** A part of a file name that is safe everywhere, as results/saved.py makes it. */
function slug(label) {
  const plain = label
    .replaceAll("'", "")
    .normalize("NFKD")
    .replace(/[^\x00-\x7f]/g, "")
    .toLowerCase();
  const trim = (text) => text.replace(/^-+|-+$/g, "");
  return trim(trim(plain.replace(/[^a-z0-9]+/g, "-")).slice(0, 40)) || "query";
}

/** The name of the picture's file, with the ending of what is in it. */
function pictureName(picture) {
  const endings = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif" };
  const ending = endings[picture.blob.type] ?? /\.([^.]+)$/.exec(picture.name)?.[1] ?? "img";
  return `${stemOf(picture.name)}.${ending}`;
}

function jsonBlob(value, indent) {
  return new Blob([JSON.stringify(value, null, indent), "\n"], { type: "application/json" });
}
