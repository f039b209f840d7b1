/**
 * A document in the words of the HTTP API.
 *
 * @typedef {import("./document.js").Document} Document
 * @typedef {import("./document.js").Query} Query
 */

import { hasPlace, namesOf, onlyPoints } from "./document.js";
import { placesAlong, strokesToMask } from "./strokes.js";

// Masks on the screen need no more; an export asks for the full size.
export const SCREEN_SIDE = 1600;

/**
 * List the requests that answer a document: one for all queries, and one for each whose candidates are asked for; or
 * the one that names every pixel.
 *
 * @param {Document} doc
 * @param {(picture: object) => string} idOf the id under which the server stores a picture
 * @param {number|null} longSide of the masks; null: full size
 * @returns {{route: "segment"|"propose"|"panoptic", queryIds: number[], body: object}[]}
 */
export function toRequests(doc, idOf, longSide) {
  const common = {
    image: idOf(doc.picture),
    masks: "rle",
    ...(longSide === null ? {} : { mask_long_side: longSide }),
    ...(doc.model === null ? {} : { model: doc.model }),
  };
  if (doc.isPanoptic) {
    const names = namesOf(doc);
    return [{ route: "panoptic", queryIds: [], body: { ...common, ...(names.length ? { names } : {}) } }];
  }
  const meant = doc.queries.filter(hasPlace);
  const chosen = meant.filter((query) => query.candidate !== null && onlyPoints(query));
  const asked = meant.filter((query) => !chosen.includes(query));
  const mask = doc.maskThreshold === null ? {} : { mask_threshold: doc.maskThreshold };
  const segment = asked.length && {
    route: "segment",
    queryIds: asked.map((query) => query.id),
    body: { ...common, ...mask, threshold: 0, queries: asked.map((query) => toQuery(query, doc.picture, idOf)) },
  };
  const proposals = chosen.map((query) => ({
    route: "propose",
    queryIds: [query.id],
    body: { ...common, query: toQuery(query, doc.picture, idOf) },
  }));
  return segment ? [segment, ...proposals] : proposals;
}

/** The pictures that a document needs on the server, its own first. @param {Document} doc */
export function neededPictures(doc) {
  const prompts = doc.queries.flatMap((query) => query.prompts);
  const examples = prompts.filter((prompt) => prompt.kind === "exemplar").map((prompt) => prompt.picture);
  return [...new Set([doc.picture, ...examples])];
}

/** @param {Query} query @param {object} picture @param {(picture: object) => string} idOf */
function toQuery(query, picture, idOf) {
  const ofKind = (kind) => query.prompts.filter((prompt) => prompt.kind === kind);
  const strokes = ofKind("stroke");
  // A mask has no sign: a stroke beside the object goes as points along it.
  const away = strokes.filter((stroke) => !stroke.positive).flatMap(placesAlong);
  const points = [
    ...ofKind("point").map(({ xy, positive }) => ({ xy, positive })),
    ...away.map((xy) => ({ xy, positive: false })),
  ];
  const drawn = strokes.filter((stroke) => stroke.positive);
  const prompts = [
    ...ofKind("text").map(({ text }) => ({ kind: "text", text })),
    ...ofKind("exemplar").map((prompt) => ({
      kind: "exemplar",
      image: idOf(prompt.picture),
      ...(prompt.box === null ? {} : { box_xyxy: prompt.box }),
    })),
    ...ofKind("box").map(({ box }) => ({ kind: "box", box_xyxy: box })),
  ];
  if (points.length) {
    prompts.push({
      kind: "point",
      points_xy: points.map((point) => point.xy),
      on_object: points.map((point) => point.positive),
    });
  }
  if (drawn.length) prompts.push({ kind: "mask", mask: strokesToMask(drawn, picture) });
  return { label: query.label, prompts };
}
