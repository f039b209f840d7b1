/** The choice of the model. */

import { byId, h } from "./dom.js";

/** @param {(name: string) => void} choose */
export function wireModels(choose) {
  const select = byId("model");
  select.addEventListener("change", () => choose(select.value));
}

/** @param {object[]} models of /v1/models @param {string|null} chosen */
export function showModels(models, chosen) {
  const select = byId("model");
  const names = models.map((model) => model.name);
  const shown = [...select.options].map((option) => option.value);
  if (names.join("\n") !== shown.join("\n")) {
    select.replaceChildren(
      ...models.map(({ name, summary }) => h("option", { value: name, title: summary ?? "" }, name)),
    );
  }
  select.closest("label").hidden = models.length === 0;
  if (chosen !== null) select.value = chosen;
  select.disabled = models.length < 2;
}
