/**
 * What an answer says about a query: there, not there, or unsure.
 *
 * @typedef {"present"|"unsure"|"absent"} Verdict
 */

/**
 * Compare presence with the slider. Where the slider is at the model's own threshold, the server's word stands.
 *
 * @param {{presence: number, status?: Verdict}} result
 * @param {number|null} threshold where the slider was moved to; null: the model's own
 * @param {number} modelThreshold
 * @returns {Verdict}
 */
export function judge(result, threshold, modelThreshold) {
  if (threshold === null && result.status !== undefined) return result.status;
  return result.presence >= (threshold ?? modelThreshold) ? "present" : "absent";
}

/** Whether a mask is shown: what may be there is shown too, and said to be unsure. @param {Verdict} verdict */
export function isShown(verdict) {
  return verdict !== "absent";
}
