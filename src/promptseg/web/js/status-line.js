/**
 * What the page says about itself: the server in the head, the hint under the picture, notices, and the live region.
 */

import { byId, setText } from "./dom.js";
import { duration, t } from "./i18n.js";

const MEGA = 1e6;

/** @param {import("./server.js").ServerState} state @param {{encode: number|null, segment: number|null}} seconds */
export function showServer(state, seconds) {
  const element = byId("server");
  element.dataset.phase = state.phase;
  const share = state.phase === "loading" && state.total ? state.done / state.total : 0;
  element.style.setProperty("--done", String(share));
  setText(byId("server-state"), describeServer(state));
  setText(byId("server-times"), state.phase === "ready" ? describeTimes(seconds) : "");
}

function describeTimes({ encode, segment }) {
  // What was stored already took no time, which says nothing.
  const measured = Object.entries({ encode, segment }).filter(([, seconds]) => Math.round(seconds * 1000) > 0);
  return measured.map(([step, seconds]) => t(`server.${step}`, { time: duration(seconds) })).join(" · ");
}

function describeServer(state) {
  if (state.phase !== "loading") return t(`server.${state.phase}`);
  const { step, done, total } = state;
  const megabytes = { step, done: Math.round(done / MEGA), total: Math.round(total / MEGA) };
  if (total) return t("server.loading.bytes", megabytes);
  return step ? t("server.loading.step", { step }) : t("server.loading");
}

/** What is going on, in words; "" while nothing is. @param {import("./asker.js").Task} task @param {string} phase */
export function describeTask(task, phase) {
  if (task.kind === "idle") return "";
  if (phase !== "ready") return phase === "loading" ? t("task.waiting") : "";
  return t(`task.${task.kind}`, task);
}

/** @param {string} text @param {boolean} isWorking */
export function showHint(text, isWorking) {
  const element = byId("hint");
  element.classList.toggle("working", isWorking);
  setText(element, text);
}

/** Say something to who listens to the page. @param {string} text */
export function say(text) {
  setText(byId("status"), text);
}

/**
 * Show a notice until it is dismissed or replaced.
 *
 * @param {string} text
 * @param {{label: string, run: () => void}|null} action
 * @param {string} kind groups notices, so that `clearNotice` takes away only its own
 */
export function showNotice(text, action = null, kind = "message") {
  const notice = byId("notice");
  notice.hidden = false;
  notice.dataset.kind = kind;
  setText(byId("notice-text"), text);
  const button = byId("notice-action");
  button.hidden = action === null;
  setText(button, action?.label ?? "");
  button.onclick = () => action.run();
}

/** @param {string|null} kind null: any */
export function clearNotice(kind = null) {
  const notice = byId("notice");
  if (kind === null || notice.dataset.kind === kind) notice.hidden = true;
}
