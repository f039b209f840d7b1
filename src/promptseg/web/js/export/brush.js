/**
 * Label Studio's run-length code of brush strokes; see formats/brush_rle.py for the layout.
 */

const CHANNELS = 4;
const VALUE_BITS = 8;
const LENGTH_BITS = [3, 4, 8, 16];
const LONGEST = 1 << 16;

/**
 * Encode a mask.
 *
 * @param {Uint8Array} mask its pixels, row by row, 0 or 1
 * @returns {number[]} bytes, as in Label Studio's JSON
 */
export function encodeBrush(mask) {
  const writer = new BitWriter();
  writer.put(mask.length * CHANNELS, 32);
  writer.put(VALUE_BITS - 1, 5);
  for (const bits of LENGTH_BITS) writer.put(bits - 1, 4);
  for (let start = 0; start < mask.length;) {
    let stop = start + 1;
    while (stop < mask.length && mask[stop] === mask[start]) stop++;
    putRun(writer, (stop - start) * CHANNELS, mask[start] ? 255 : 0);
    start = stop;
  }
  return writer.bytes();
}

/** A run that is too long for one block becomes several. */
function putRun(writer, length, value) {
  for (let left = length; left > 0; left -= LONGEST) {
    const block = Math.min(left, LONGEST);
    const size = LENGTH_BITS.findIndex((bits) => block <= 1 << bits);
    writer.put(1, 1);
    writer.put(size, 2);
    writer.put(block - 1, LENGTH_BITS[size]);
    writer.put(value, VALUE_BITS);
  }
}

/** Writes numbers bit by bit, the highest bit first; the last byte is filled with 0. */
class BitWriter {
  #bytes = [];
  #free = 0;

  put(number, bits) {
    for (let bit = bits - 1; bit >= 0; bit--) {
      if (this.#free === 0) {
        this.#bytes.push(0);
        this.#free = 8;
      }
      this.#free -= 1;
      // Division and not a shift: a number may have 32 bits.
      this.#bytes[this.#bytes.length - 1] |= (Math.floor(number / 2 ** bit) & 1) << this.#free;
    }
  }

  bytes() {
    return this.#bytes;
  }
}
