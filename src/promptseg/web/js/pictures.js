/**
 * Pictures as the page holds them: the bytes that the server gets, and the pixels that the screen shows.
 *
 * @typedef {{key: number, name: string, blob: Blob, bitmap: ImageBitmap, width: number, height: number,
 *   original: {width: number, height: number}}} Picture width, height: upright, as the server sees it; original: before
 *   it was made smaller to be sent
 */

/** A file that cannot be opened, with the key of the text that says why. */
export class PictureError extends Error {
  /** @param {string} key @param {Object<string, string|number>} params */
  constructor(key, params) {
    super(key);
    this.key = key;
    this.params = params;
  }
}

let nextKey = 1;

/**
 * Open a picture; one that the server would refuse for its size is made smaller.
 *
 * @param {Blob} file
 * @param {string} name
 * @param {{max_body_bytes: number, max_pixels: number}|null} limits null: not known yet
 * @returns {Promise<Picture>}
 * @throws {PictureError} the browser cannot read it
 */
export async function openFile(file, name, limits) {
  const bitmap = await decode(file, name);
  const original = { width: bitmap.width, height: bitmap.height };
  const picture = { key: nextKey++, name, blob: file, bitmap, ...original, original };
  const pixels = bitmap.width * bitmap.height;
  if (limits === null || (file.size <= limits.max_body_bytes && pixels <= limits.max_pixels)) return picture;
  const scale = Math.min(1, Math.sqrt(limits.max_pixels / pixels));
  return { ...picture, ...(await shrink(bitmap, scale, limits.max_body_bytes)) };
}

/** The name of a file without its folder and its last ending. @param {string} name */
export function stemOf(name) {
  return name.replace(/^.*[\\/]/, "").replace(/\.[^.]+$/, "") || "picture";
}

async function decode(file, name) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PictureError("error.notPicture", { name });
  }
}

/** Encode a smaller version, smaller still while it has too many bytes. */
async function shrink(bitmap, scale, maxBytes) {
  for (;;) {
    const width = Math.max(1, Math.floor(bitmap.width * scale));
    const height = Math.max(1, Math.floor(bitmap.height * scale));
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
    if (blob.size <= maxBytes || width * height === 1) {
      return { blob, width, height, bitmap: await createImageBitmap(canvas) };
    }
    scale *= 0.7;
  }
}
