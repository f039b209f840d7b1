/** The two views of the panel: what was asked, and a name for every pixel. */

import { byId, h, setText } from "./dom.js";
import { namesOf } from "./document.js";
import { percent, t } from "./i18n.js";
import { colorOf, inkOn } from "./palette.js";

/** @param {(isPanoptic: boolean) => void} choose */
export function wireViews(choose) {
  byId("view-queries").addEventListener("click", () => choose(false));
  byId("view-panoptic").addEventListener("click", () => choose(true));
}

/**
 * @param {import("./document.js").Document} doc
 * @param {import("./panoptic.js").NamedAnswer[]} named
 * @param {boolean} isOffered whether the model takes names
 */
export function showViews(doc, named, isOffered) {
  byId("views").hidden = !isOffered;
  byId("view-queries").setAttribute("aria-pressed", String(!doc.isPanoptic));
  byId("view-panoptic").setAttribute("aria-pressed", String(doc.isPanoptic));
  byId("query-view").hidden = doc.isPanoptic;
  byId("panoptic-view").hidden = !doc.isPanoptic;
  for (const slider of document.querySelectorAll(".slider.of-queries")) slider.hidden = doc.isPanoptic;
  setText(byId("panoptic-note"), t(namesOf(doc).length ? "panoptic.yours" : "panoptic.everyday"));
  byId("names").replaceChildren(...(doc.isPanoptic ? named.map(toItem) : []));
}

function toItem({ query, result, share }) {
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.setProperty("--color", colorOf(query.color));
  swatch.style.setProperty("--ink", inkOn(query.color));
  const count = result.is_thing ? t("row.objects", { count: result.instances.length }) : t("panoptic.stuff");
  const words = [h("span", { class: "row-label" }, query.label), h("span", { class: "row-detail" }, count)];
  const text = h("span", { class: "row-text" }, ...words);
  return h(
    "li",
    { class: "row name", "data-name": query.label },
    swatch,
    text,
    h("span", { class: "row-score" }, percent(share)),
  );
}
