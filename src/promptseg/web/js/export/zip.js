/** Several files as one ZIP, stored as they are: pictures are compressed already. */

import { crc32 } from "./crc32.js";

const UTF8_NAMES = 0x0800;
const VERSION = 20;

/**
 * @param {{name: string, blob: Blob}[]} files names with "/" between folders; no two are equal
 * @param {Date} date
 * @returns {Promise<Blob>}
 */
export async function zip(files, date = new Date()) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const nameBytes = new TextEncoder().encode(name);
    const facts = { nameBytes, size: bytes.length, crc: crc32(bytes), date, offset };
    const head = record(0x04034b50, 30, facts, 4);
    parts.push(head, nameBytes, bytes);
    directory.push(record(0x02014b50, 46, facts, 6), nameBytes);
    offset += head.length + nameBytes.length + bytes.length;
  }
  const directorySize = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, directorySize, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/** The head of a file, or its entry in the directory: most of their fields are the same, from `start` on. */
function record(signature, length, { nameBytes, size, crc, date, offset }, start) {
  const view = new DataView(new ArrayBuffer(length));
  const isEntry = length === 46;
  view.setUint32(0, signature, true);
  if (isEntry) view.setUint16(4, VERSION, true);
  view.setUint16(start, VERSION, true);
  view.setUint16(start + 2, UTF8_NAMES, true);
  view.setUint16(start + 6, (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1), true);
  view.setUint16(start + 8, ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate(), true);
  view.setUint32(start + 10, crc, true);
  view.setUint32(start + 14, size, true);
  view.setUint32(start + 18, size, true);
  view.setUint16(start + 22, nameBytes.length, true);
  if (isEntry) view.setUint32(42, offset, true);
  return new Uint8Array(view.buffer);
}
