/** What all dialogs share: buttons that close them, a click beside them, and the help that lists the keys. */

import { byId, h } from "./dom.js";
import { t } from "./i18n.js";
import { BINDINGS } from "./keyboard.js";

const SIGNS = {
  ArrowUp: "↑",
  ArrowDown: "↓",
  ArrowLeft: "←",
  ArrowRight: "→",
  Escape: "Esc",
  Delete: "Del",
  Backspace: "⌫",
};

export function wireDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    for (const button of dialog.querySelectorAll("[data-close]"))
      button.addEventListener("click", () => dialog.close());
    dialog.addEventListener("pointerdown", (event) => {
      // The backdrop belongs to the dialog, everything inside to its children.
      if (event.target === dialog && isOutside(event, dialog) && dialog.id !== "token-dialog") dialog.close();
    });
  }
  byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
}

function isOutside({ clientX, clientY }, dialog) {
  const box = dialog.getBoundingClientRect();
  return clientX < box.left || clientX > box.right || clientY < box.top || clientY > box.bottom;
}

export function showHelp() {
  const groups = [...new Set(BINDINGS.map((binding) => binding.group))];
  byId("help-keys").replaceChildren(...groups.map(describeGroup));
  byId("help-dialog").showModal();
}

function describeGroup(group) {
  const entries = BINDINGS.filter((binding) => binding.group === group).flatMap(({ keys, command }) => [
    h("dt", {}, ...keys.map((key) => h("kbd", {}, describeKey(key)))),
    h("dd", {}, t(`key.${command}`)),
  ]);
  return h("section", {}, h("h3", {}, t(`help.${group}`)), h("dl", {}, ...entries));
}

function describeKey(key) {
  return key
    .split(/\+(?=.)/)
    .map((part) =>
      part === "Ctrl" ? t("key.control") : (SIGNS[part] ?? (part.length === 1 ? part.toUpperCase() : part)),
    )
    .join(" + ");
}
