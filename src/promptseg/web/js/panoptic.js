/**
 * The answer that names every pixel, in the form of answers to queries: one for each name.
 *
 * @typedef {{query: {id: string, label: string, color: number}, result: object, maskSize: [number, number],
 *   share: number}} NamedAnswer result: as of a query, its segments being its objects, without a mask of the whole;
 *   share: of the picture's area
 */

import { decodeRle, encodeRle } from "./rle.js";

/**
 * Group the segments of an answer of /v1/panoptic by name; the name with the largest segment first.
 *
 * @param {object} answer
 * @returns {NamedAnswer[]}
 */
export function nameByName({ classes, segments, mask_size_hw: maskSize, size_hw: [height, width] }) {
  const byLabel = Map.groupBy(segments, (segment) => segment.label);
  return [...byLabel].map(([label, instances], color) => {
    const presence = classes.find((each) => each.label === label)?.presence ?? 1;
    const area = instances.reduce((sum, instance) => sum + instance.area, 0);
    return {
      query: { id: label, label, color },
      result: { label, presence, area, instances, is_thing: instances[0].is_thing },
      maskSize,
      share: area / (height * width),
    };
  });
}

/** Give a result the mask of all its objects. @param {object} result */
export function withWholeMask(result) {
  if (result.mask) return result;
  const { size } = result.instances[0].mask;
  const whole = new Uint8Array(size[0] * size[1]);
  for (const instance of result.instances) {
    decodeRle(instance.mask).forEach((value, at) => {
      if (value) whole[at] = 1;
    });
  }
  return { ...result, mask: encodeRle(whole, size) };
}
