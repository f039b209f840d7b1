/**
 * What an answer says about a query: there, not there, or unsure.
 *
 * @typedef {"present"|"unsure"|"absent"} Verdict
 * @typedef {{presence: number, unsure: number|null}} Thresholds of a model: from the first on an object is present,
 *   from the second on the model is unsure; null: it never is
 */

/**
 * Compare presence with the slider, or with the model's own thresholds while nobody has moved it.
 *
 * @param {{presence: number, status?: Verdict}} result
 * @param {number|null} slider null: nobody has moved it
 * @param {Thresholds} thresholds
 * @returns {Verdict}
 */
export function judge({ presence, status }, slider, thresholds) {
  if (slider !== null) return presence >= slider ? "present" : "absent";
  if (status === "unsure") return "unsure";
  if (presence >= thresholds.presence) return "present";
  return thresholds.unsure !== null && presence >= thresholds.unsure ? "unsure" : "absent";
}

/** Whether a mask is shown: what may be there is shown too, and said to be unsure. @param {Verdict} verdict */
export function isShown(verdict) {
  return verdict !== "absent";
}
