/** The dialog of the export: which masks, and in which format. */

import { byId, h, setText } from "./dom.js";
import { FORMATS } from "./export/files.js";
import { t } from "./i18n.js";
import { colorOf } from "./palette.js";
import { withWholeMask } from "./panoptic.js";
import { decodeRle } from "./rle.js";

export class ExportDialog {
  #dialog = byId("export-dialog");
  #rows = byId("export-rows");
  #note = byId("export-note");
  #getWork;
  #entries = [];

  /**
   * @param {() => Promise<{picture: object, opacity: number, facts: object, answers: Map<number, object>}>} getWork
   *   asks at full size
   */
  constructor(getWork) {
    this.#getWork = getWork;
  }

  /** @param {{query: import("./document.js").Query, isShown: boolean}[]} entries what there is to take */
  open(entries) {
    this.#entries = entries;
    this.#rows.replaceChildren(...entries.map(toCheckbox));
    byId("export-formats").replaceChildren(
      ...Object.keys(FORMATS).map((format) =>
        h(
          "button",
          { type: "button", class: "format", "data-format": format, onclick: () => this.#export(format) },
          h("strong", {}, t(`export.${format}`)),
          h("span", {}, t(`export.${format}.note`)),
        ),
      ),
    );
    setText(this.#note, "");
    this.#dialog.showModal();
  }

  async #export(format) {
    const chosen = new Set([...this.#rows.querySelectorAll("input:checked")].map((input) => input.value));
    const queries = this.#entries.map((entry) => entry.query).filter((query) => chosen.has(String(query.id)));
    if (queries.length === 0) {
      setText(this.#note, t("export.nothing"));
      return;
    }
    this.#setBusy(true);
    setText(this.#note, t("export.working"));
    try {
      const { picture, opacity, facts, answers } = await this.#getWork();
      const taken = queries.map((query) => {
        const { result } = answers.get(query.id);
        return new Taken(query, { ...withWholeMask(result), label: query.label });
      });
      const size = [picture.height, picture.width];
      const { name, blob } = await FORMATS[format]({ picture, taken, size, answer: facts, opacity });
      save(blob, name);
      setText(this.#note, t("export.done", { name }));
    } catch (error) {
      setText(this.#note, t("export.failed", { message: error.message }));
      console.warn(error);
    } finally {
      this.#setBusy(false);
    }
  }

  #setBusy(isBusy) {
    for (const button of byId("export-formats").children) button.disabled = isBusy;
  }
}

/** A query to export. Its mask is decoded each time it is read: many large ones would not fit in memory. */
class Taken {
  constructor(query, result) {
    this.query = query;
    this.result = result;
  }

  get mask() {
    return decodeRle(this.result.mask);
  }
}

function toCheckbox({ query, isShown }) {
  const input = h("input", { type: "checkbox", value: String(query.id), checked: isShown });
  const swatch = h("span", { class: "swatch small", "aria-hidden": "true" });
  swatch.style.setProperty("--color", colorOf(query.color));
  return h("li", {}, h("label", {}, input, swatch, h("span", {}, query.label)));
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  // The download has begun by then; at once would be too early for some browsers.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
