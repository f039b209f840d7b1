/** The photographs that come with promptseg, to try it. */

import { byId, h } from "./dom.js";

/**
 * Fill both galleries.
 *
 * @param {import("./api.js").Api} api
 * @param {(blob: Blob, name: string, phrases: string[]) => void} choose
 */
export async function fillGalleries(api, choose) {
  const { examples } = await api.examples();
  const loaded = await Promise.all(
    examples.map(async (example) => ({ ...example, blob: await api.file(example.url) })),
  );
  for (const id of ["gallery", "examples-gallery"]) {
    byId(id).replaceChildren(...loaded.map((example) => toItem(example, choose)));
  }
}

function toItem({ name, phrases, blob, url }, choose) {
  const text = phrases.join(", ");
  const file = url.split("/").at(-1);
  const button = h(
    "button",
    { type: "button", class: "example", onclick: () => choose(blob, file, phrases) },
    h("img", { src: URL.createObjectURL(blob), alt: "" }),
    h("span", { class: "example-name" }, name),
    h("span", { class: "example-phrases" }, text),
  );
  return h("li", {}, button);
}
