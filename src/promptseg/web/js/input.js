/** Everything that comes in from outside: buttons, keys, pointer, dropped, pasted and chosen files, and the token. */

import { byId } from "./dom.js";
import { listenToKeys } from "./keyboard.js";
import { wireModels } from "./models.js";
import { Pointer } from "./pointer.js";
import { wireViews } from "./views.js";

const BUTTONS = {
  open: "open",
  "empty-open": "open",
  help: "help",
  exemplar: "exemplar",
  undo: "undo",
  redo: "redo",
  clear: "clear",
  export: "export",
  "zoom-in": "zoomIn",
  "zoom-out": "zoomOut",
  "zoom-fit": "zoomFit",
};

/**
 * @param {{session: import("./session.js").Session, stage: import("./stage.js").Stage, tools:
 *   import("./tools.js").Tools, pen: import("./pen.js").Pen, crossHair: import("./cross-hair.js").CrossHair, commands:
 *   object, exemplarDialog: import("./exemplar-dialog.js").ExemplarDialog,
 *   open: (file: Blob, name: string) => void, render: () => void}} parts
 */
export function wireInput(parts) {
  const { session, commands } = parts;
  for (const [id, command] of Object.entries(BUTTONS)) byId(id).addEventListener("click", () => commands[command]());
  byId("examples").addEventListener("click", () => byId("examples-dialog").showModal());
  byId("notice-close").addEventListener("click", () => {
    byId("notice").hidden = true;
  });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    session.server.unlock(byId("token").value);
  });
  wireModels(commands.chooseModel);
  wireViews(commands.showPanoptic);
  wirePointer(parts);
  listenToKeys(commands);
  wireFiles(parts);
}

function wirePointer({ session, stage, tools, pen, crossHair, commands, render }) {
  let isSpaceHeld = false;
  const pointer = new Pointer(stage, {
    isOpen: () => session.doc.picture !== null,
    isPanning: () => isSpaceHeld || tools.tool === "pan",
    isPointTool: () => tools.tool === "point",
    isNegative: (event) =>
      event.button === 2 || event.altKey || (tools.tool === "scribble" && event.shiftKey) || !tools.isPositive,
    down: (at, positive) => {
      const { picture } = session.doc;
      crossHair.hide();
      pen.down(tools.tool, at, positive, picture, tools.brushOn(picture));
      render();
    },
    move: (to) => {
      pen.move(to);
      stage.invalidate();
    },
    up: () => {
      commands.addPrompt(pen.up());
      render();
    },
    cancel: () => {
      pen.cancel();
      render();
    },
  });
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape") pointer.cancel();
    // On a button or in a field, Space has a use of its own.
    if (event.key !== " " || event.target.closest("input, button, select, textarea, dialog")) return;
    isSpaceHeld = true;
    byId("stage").classList.add("panning");
    event.preventDefault();
  });
  const release = () => {
    isSpaceHeld = false;
    byId("stage").classList.remove("panning");
  };
  window.addEventListener("keyup", (event) => event.key === " " && release());
  window.addEventListener("blur", release);
}

function wireFiles({ open, exemplarDialog, session }) {
  const file = byId("file");
  file.addEventListener("change", () => {
    const [chosen] = file.files;
    // So that the same file can be chosen once more.
    file.value = "";
    if (chosen) open(chosen, chosen.name);
  });
  window.addEventListener("paste", (event) => {
    const [pasted] = event.clipboardData.files;
    if (pasted) open(pasted, pasted.name || "pasted.png");
  });
  let depth = 0;
  const show = (change) => {
    depth = change === 0 ? 0 : depth + change;
    byId("drop").hidden = depth <= 0 || exemplarDialog.isOpen;
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  window.addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(0);
    const [dropped] = event.dataTransfer.files;
    if (dropped) open(dropped, dropped.name);
  });
  window.addEventListener("beforeunload", (event) => {
    const isHandmade = (query) => query.prompts.some((prompt) => prompt.kind !== "text");
    // Phrases are typed again in no time; clicks are not.
    if (session.doc.queries.some(isHandmade)) event.preventDefault();
  });
}
