// The page: a photo and a phrase in, presence and a painted mask out.

import { Model, boxAround } from "./model.js";

const folder = new URLSearchParams(location.search).get("model") ?? "exported";
const [form, file, phrase, status, canvas] = ["form", "#photo", "#phrase", "#status", "#result"].map((name) =>
  document.querySelector(name),
);
const MAX_SIDE = 2048; // larger photos are shrunk, for memory
let model;

async function readPhoto(blob) {
  const bitmap = await createImageBitmap(blob); // upright
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function paint(photo, map) {
  const painted = new ImageData(new Uint8ClampedArray(photo.data), photo.width, photo.height);
  let inside = 0;
  map.values.forEach((value, index) => {
    if (value < 0) return;
    inside++;
    [230, 60, 60].forEach((color, channel) => {
      painted.data[4 * index + channel] = (painted.data[4 * index + channel] + color) / 2;
    });
  });
  canvas.getContext("2d").putImageData(painted, 0, 0);
  return inside / map.values.length;
}

async function segment() {
  status.textContent = "Loading the model…";
  model ??= await Model.load(folder);
  const photo = await readPhoto(file.files[0]);
  status.textContent = "Segmenting…";
  const { presence, map } = await model.segmentPhrase(photo, phrase.value);
  const box = boxAround(map);
  const refined = box && model.config.masker ? await model.segmentBox(photo, box) : null;
  const { presence: least, unsure } = model.config.thresholds;
  const verdict = presence >= least ? "present" : presence >= unsure ? "unsure" : "absent";
  const share = paint(photo, refined ?? map);
  status.textContent = `${phrase.value}: presence ${presence.toFixed(3)}, ${verdict}; ${(100 * share).toFixed(1)} % of the photo`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true; // one run at a time: sessions of onnxruntime-web do not overlap
  try {
    await segment();
  } catch (error) {
    status.textContent = `Failed: ${error.message}`;
  } finally {
    button.disabled = false;
  }
});
