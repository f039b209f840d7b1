/**
 * What the page is about, as one immutable value: the picture, the queries and the sliders. Undo goes from one to
 * another; everything that is asked and drawn follows from it.
 *
 * @typedef {import("./pictures.js").Picture} Picture
 * @typedef {import("./geometry.js").PointXy} PointXy
 * @typedef {{kind: "text", text: string}
 *   | {kind: "point", xy: PointXy, positive: boolean} | {kind: "box", box: [number, number, number, number]}
 *   | {kind: "stroke", points: PointXy[], width: number, positive: boolean}
 *   | {kind: "exemplar", picture: Picture, box: [number, number, number, number]|null}} Prompt
 *   coordinates are pixels of the picture
 * @typedef {{id: number, label: string, color: number, prompts: Prompt[], hidden: boolean, candidate: number|null}}
 *   Query candidate: which of the proposals is taken; null: what the model takes for the best
 * @typedef {{picture: Picture|null, queries: Query[], activeId: number|null, nextId: number, nextObject: number,
 *   model: string|null, isPanoptic: boolean, presence: number|null, maskThreshold: number|null, opacity: number}}
 *   Document activeId: the query that the next click belongs to; isPanoptic: every pixel gets one name; presence,
 *   maskThreshold:
 *   null is the model's own
 */

// The default of the command line's overlays.
export const OPACITY = 0.42;

/** @returns {Document} */
export function emptyDocument() {
  return {
    picture: null,
    queries: [],
    activeId: null,
    nextId: 1,
    nextObject: 1,
    model: null,
    isPanoptic: false,
    presence: null,
    maskThreshold: null,
    opacity: OPACITY,
  };
}

/** Start over with a picture; sliders and model stay. @param {Document} doc @param {Picture} picture */
export function openPicture(doc, picture) {
  return { ...doc, picture, queries: [], activeId: null, nextObject: 1, isPanoptic: false };
}

/**
 * Add a query for each phrase; one that is there already is selected.
 *
 * @param {Document} doc
 * @param {string[]} phrases
 */
export function addPhrases(doc, phrases) {
  return phrases.reduce(
    (grown, text) => {
      const known = grown.queries.find((query) => query.label.toLowerCase() === text.toLowerCase());
      return known ? { ...grown, activeId: known.id } : addQuery(grown, text, { kind: "text", text });
    },
    { ...doc, activeId: null },
  );
}

/**
 * Add a prompt to the active query; without one, it becomes a query of its own.
 *
 * @param {Document} doc
 * @param {Prompt} prompt
 * @param {(number: number) => string} nameObject the label of a new query
 */
export function addPrompt(doc, prompt, nameObject) {
  const asked = { ...doc, isPanoptic: false };
  if (activeQuery(doc) === null) {
    const grown = addQuery(asked, nameObject(doc.nextObject), prompt);
    return { ...grown, nextObject: doc.nextObject + 1, activeId: doc.nextId };
  }
  // A prompt says more than the choice among the candidates did.
  return changeQuery(asked, doc.activeId, (query) => ({ prompts: [...query.prompts, prompt], candidate: null }));
}

/** @param {Document} doc @param {string} label @param {Prompt} prompt */
export function addQuery(doc, label, prompt) {
  const used = new Set(doc.queries.map((query) => query.color));
  let color = 0;
  while (used.has(color)) color++;
  const query = { id: doc.nextId, label, color, prompts: [prompt], hidden: false, candidate: null };
  return { ...doc, queries: [...doc.queries, query], nextId: doc.nextId + 1 };
}

/** @param {Document} doc @param {number} id @param {(query: Query) => Partial<Query>} change */
export function changeQuery(doc, id, change) {
  return {
    ...doc,
    queries: doc.queries.map((query) => (query.id === id ? { ...query, ...change(query) } : query)),
  };
}

/** Rename a query; the phrase of a query that is nothing else changes with it. */
export function renameQuery(doc, id, label) {
  return changeQuery(doc, id, (query) => {
    const [first] = query.prompts;
    const isPhrase = first.kind === "text" && first.text === query.label;
    return { label, prompts: isPhrase ? [{ kind: "text", text: label }, ...query.prompts.slice(1)] : query.prompts };
  });
}

/** @param {Document} doc @param {number} id */
export function removeQuery(doc, id) {
  return {
    ...doc,
    queries: doc.queries.filter((query) => query.id !== id),
    activeId: doc.activeId === id ? null : doc.activeId,
  };
}

/** The names that every pixel may get: the phrases that stand alone. @param {Document} doc @returns {string[]} */
export function namesOf(doc) {
  return doc.queries
    .filter(({ prompts: [first, ...others] }) => first.kind === "text" && others.length === 0)
    .map((query) => query.label);
}

/** @param {Document} doc @returns {Query|null} */
export function activeQuery(doc) {
  return doc.queries.find((query) => query.id === doc.activeId) ?? null;
}

/** Whether two documents have the same answers. @param {Document} a @param {Document} b */
export function asksTheSame(a, b) {
  const isSame = (query, index) => {
    const other = b.queries[index];
    return ["id", "label", "prompts", "candidate"].every((key) => query[key] === other[key]);
  };
  return (
    ["picture", "model", "isPanoptic", "maskThreshold"].every((key) => a[key] === b[key]) &&
    a.queries.length === b.queries.length &&
    a.queries.every(isSame)
  );
}

/** Whether a query only points, so that there are candidates to choose from. @param {Query} query */
export function onlyPoints(query) {
  return query.prompts.every((prompt) => ["point", "box", "stroke"].includes(prompt.kind)) && hasPlace(query);
}

/** Whether anything but negative points says what is meant. @param {Query} query */
export function hasPlace(query) {
  return query.prompts.some((prompt) => !(prompt.kind === "point" || prompt.kind === "stroke") || prompt.positive);
}

/** Split what was typed at commas, as the command line does. @param {string} typed @returns {string[]} */
export function splitPhrases(typed) {
  return typed
    .split(/[,;\n]/)
    .map((phrase) => phrase.trim().replace(/\s+/g, " "))
    .filter((phrase) => phrase !== "");
}
