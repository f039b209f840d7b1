// Maps of numbers: resized as Pillow does, bilinearly with pixel centers at index + 0.5; shrinking averages.

function sampling(numOut, start, length, numIn) {
  const step = length / numOut, reach = Math.max(step, 1);
  return Array.from({ length: numOut }, (_, index) => {
    const center = start + (index + 0.5) * step;
    const first = Math.max(Math.floor(center - reach + 0.5), 0);
    const last = Math.min(Math.floor(center + reach + 0.5), numIn);
    const weights = [];
    for (let pixel = first; pixel < last; pixel++) weights.push(Math.max(1 - Math.abs(pixel + 0.5 - center) / reach, 0));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

// Resize a map {values, width, height}; only `covered` of it, {width, height}, becomes the new map.
export function resize(map, width, height, covered = map) {
  const columns = sampling(width, 0, covered.width, map.width);
  const rows = sampling(height, 0, covered.height, map.height);
  const wide = new Float32Array(map.height * width);
  for (let y = 0; y < map.height; y++)
    columns.forEach(({ first, weights }, x) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * map.values[y * map.width + first + k];
      wide[y * width + x] = sum;
    });
  const values = new Float32Array(height * width);
  rows.forEach(({ first, weights }, y) => {
    for (let k = 0; k < weights.length; k++)
      for (let x = 0; x < width; x++) values[y * width + x] += weights[k] * wide[(first + k) * width + x];
  });
  return { values, width, height };
}

// Resize, normalize and pad a photo (ImageData): values of shape (3, canvas height, canvas width).
export function toPixels(photo, width, height, canvasWidth, canvasHeight, { mean, std }) {
  const pixels = new Float32Array(3 * canvasHeight * canvasWidth);
  for (let channel = 0; channel < 3; channel++) {
    const plane = Float32Array.from({ length: photo.width * photo.height }, (_, index) => photo.data[4 * index + channel]);
    const { values } = resize({ values: plane, width: photo.width, height: photo.height }, width, height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        pixels[(channel * canvasHeight + y) * canvasWidth + x] = (values[y * width + x] - mean[channel]) / std[channel];
  }
  return pixels;
}
