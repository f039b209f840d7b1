/**
 * COCO run-length codes of masks: column-major runs that start with a run of 0, packed into text.
 *
 * A mask here is a `Uint8Array` of 0 and 1, row by row, like the pixels of a canvas.
 *
 * @typedef {{size: [number, number], counts: string}} Rle size is [height, width]
 * @typedef {[number, number, number, number]} BoxXyxy left, top, right, bottom; right and bottom exclusive
 */

/**
 * Unpack the run lengths of a code.
 *
 * @param {string} counts
 * @returns {number[]}
 */
export function unpackRuns(counts) {
  const runs = [];
  let position = 0;
  while (position < counts.length) {
    let run = 0;
    let shift = 0;
    let code;
    do {
      code = counts.charCodeAt(position++) - 48;
      if (Number.isNaN(code)) throw new RangeError("a run-length code that breaks off");
      run += (code & 31) * 2 ** shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) run -= 2 ** shift;
    // From the fourth run on, the code holds the difference from the run before the previous one.
    if (runs.length > 2) run += runs[runs.length - 2];
    runs.push(run);
  }
  return runs;
}

/**
 * Pack run lengths into a code.
 *
 * @param {number[]} runs
 * @returns {string}
 */
export function packRuns(runs) {
  const characters = [];
  runs.forEach((run, index) => {
    let rest = index > 2 ? run - runs[index - 2] : run;
    let more = true;
    while (more) {
      let code = rest & 31;
      rest >>= 5;
      more = code & 16 ? rest !== -1 : rest !== 0;
      if (more) code |= 32;
      characters.push(String.fromCharCode(code + 48));
    }
  });
  return characters.join("");
}

/**
 * Decode a code to a mask.
 *
 * @param {Rle} rle
 * @returns {Uint8Array} height * width pixels
 */
export function decodeRle({ size: [height, width], counts }) {
  const mask = new Uint8Array(height * width);
  const pixels = forEachPiece(unpackRuns(counts), height, (x, from, to) => {
    for (let at = from * width + x, stop = to * width; at < stop; at += width) mask[at] = 1;
  });
  if (pixels !== height * width) throw new RangeError(`a run-length code of ${pixels} pixels, not ${height * width}`);
  return mask;
}

/**
 * Decode only the box that holds all of a mask, which costs no more than the object is large.
 *
 * @param {Rle} rle
 * @returns {{pixels: Uint8Array, box: BoxXyxy}} an empty mask has the box 0, 0, 0, 0
 */
export function decodeTight({ size: [height, width], counts }) {
  const runs = unpackRuns(counts);
  const box = tightBox(runs, height);
  const [left, top, right, bottom] = box;
  if (right > width) throw new RangeError("a run-length code with more pixels than its size");
  const pixels = new Uint8Array((right - left) * (bottom - top));
  forEachPiece(runs, height, (x, from, to) => {
    for (let y = from; y < to; y++) pixels[(y - top) * (right - left) + x - left] = 1;
  });
  return { pixels, box };
}

/**
 * Encode a mask.
 *
 * @param {Uint8Array} mask height * width pixels, 0 or 1
 * @param {[number, number]} size [height, width]
 * @returns {Rle}
 */
export function encodeRle(mask, [height, width]) {
  const runs = [];
  let value = 0;
  let start = 0;
  for (let x = 0, position = 0; x < width; x++) {
    for (let y = 0; y < height; y++, position++) {
      if (mask[y * width + x] === value) continue;
      runs.push(position - start);
      start = position;
      value ^= 1;
    }
  }
  runs.push(width * height - start);
  return { size: [height, width], counts: packRuns(runs) };
}

/**
 * Count the pixels of a code without decoding it.
 *
 * @param {Rle} rle
 * @returns {number}
 */
export function areaOfRle({ counts }) {
  return unpackRuns(counts).reduce((area, run, index) => (index % 2 ? area + run : area), 0);
}

/** Call back for each vertical piece of a mask: column, first row, row after the last. */
function forEachPiece(runs, height, callback) {
  let position = 0;
  runs.forEach((run, index) => {
    const stop = position + run;
    if (index % 2) {
      for (let from = position; from < stop;) {
        const x = Math.floor(from / height);
        const to = Math.min(stop, (x + 1) * height);
        callback(x, from - x * height, to - x * height);
        from = to;
      }
    }
    position = stop;
  });
  return position;
}

function tightBox(runs, height) {
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  forEachPiece(runs, height, (x, from, to) => {
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, from);
    bottom = Math.max(bottom, to);
  });
  return right ? [left, top, right, bottom] : [0, 0, 0, 0];
}
