/** Objects as GeoJSON features, in pixels of the picture; see formats/geojson.py. */

import { groupRings } from "../outline.js";
import { traceMask } from "../trace.js";

/**
 * @param {{label: string, instance: object}[]} objects
 * @param {string[]} classes
 * @returns {object[]} features whose polygons enclose exactly the masks
 */
export function toFeatures(objects, classes) {
  return objects.map(({ label, instance }) => {
    const polygons = toPolygons(instance.mask);
    const isSingle = polygons.length === 1;
    return {
      type: "Feature",
      geometry: {
        type: isSingle ? "Polygon" : "MultiPolygon",
        coordinates: isSingle ? polygons[0] : polygons,
      },
      properties: {
        label,
        class_id: classes.indexOf(label),
        score: instance.score,
        ...(instance.mask_quality === undefined ? {} : { mask_quality: instance.mask_quality }),
      },
    };
  });
}

function toPolygons(rle) {
  return groupRings(traceMask(rle).rings).map(({ outer, holes }) => [outer, ...holes].map(toCoordinates));
}

/**
 * RFC 7946 wants rings closed, outer ones counter-clockwise and holes clockwise, where y points up. Ours run the other
 * way on a screen, where y points down: so the numbers are in the right order as they are.
 */
function toCoordinates(ring) {
  const points = [];
  for (let index = 0; index < ring.length; index += 2) points.push([ring[index], ring[index + 1]]);
  return [...points, points[0]];
}
