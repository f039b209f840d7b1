/** Masks as PNG files of one bit a pixel, as the command line writes them: a canvas would write four channels. */

import { crc32 } from "./crc32.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GRAYSCALE = 0;

/**
 * Encode a mask: white inside, black outside.
 *
 * @param {Uint8Array} mask height * width pixels, 0 or 1
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Blob>}
 */
export async function encodeMaskPng(mask, width, height) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 1); // bits a pixel
  header.setUint8(9, GRAYSCALE);
  const data = await deflate(packRows(mask, width, height));
  const parts = [
    new Uint8Array(SIGNATURE),
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("IDAT", data),
    chunk("IEND", new Uint8Array()),
  ];
  return new Blob(parts, { type: "image/png" });
}

/** Eight pixels a byte, the first in the highest bit; before each row the number of its filter, none. */
function packRows(mask, width, height) {
  const stride = 1 + Math.ceil(width / 8);
  const rows = new Uint8Array(stride * height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (mask[at]) rows[y * stride + 1 + (x >> 3)] |= 128 >> (x & 7);
    }
  }
  return rows;
}

function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
