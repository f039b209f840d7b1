/** What a person can do, by key, button or pointer: each a function of its own. */

import { panOfArrow } from "./cross-hair.js";
import { showHelp } from "./dialogs.js";
import * as documents from "./document.js";
import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { clearNotice } from "./status-line.js";

const ZOOM_STEP = 1.25;

/**
 * @param {{session: import("./session.js").Session, stage: import("./stage.js").Stage, tools:
 *   import("./tools.js").Tools, pen: import("./pen.js").Pen, crossHair: import("./cross-hair.js").CrossHair,
 *   exemplarDialog: object, openExport: () => void, render: () => void}} parts
 * @returns {Object<string, (event?: KeyboardEvent) => boolean|void>} those of keyboard.js among them
 */
export function makeCommands({ session, stage, tools, pen, crossHair, exemplarDialog, openExport, render }) {
  const { store } = session;
  const nameObject = (number) => t("object", { number });

  const commit = (doc, burst) => store.commit(doc, burst);
  const addPrompt = (prompt) => prompt && commit(documents.addPrompt(session.doc, prompt, nameObject));
  const select = (id) => store.replace({ ...session.doc, activeId: id });
  const take = (tool) => {
    if (document.querySelector(`[data-tool=${tool}]`).disabled) return;
    pen.cancel();
    tools.take(tool);
  };

  /** Set a point at the cross-hair, or begin or end a box or a stroke there. */
  const drawAtCrossHair = (isPositive) => {
    if (pen.draft) addPrompt(pen.up());
    else {
      const { picture } = session.doc;
      pen.down(tools.tool, crossHair.place, isPositive, picture, tools.brushOn(picture));
      if (tools.tool === "point") addPrompt(pen.up());
    }
    render();
  };

  const enter = (isPositive) => {
    if (session.doc.picture === null) return false;
    if (crossHair.place !== null && tools.tool !== "pan") drawAtCrossHair(isPositive);
    else select(null);
  };

  const commands = {
    open: () => byId("file").click(),
    focusPhrase: () => byId("phrase").focus(),
    export: () => session.exportEntries().length > 0 && openExport(),
    help: () => showHelp(),
    toolPan: () => take("pan"),
    toolPoint: () => take("point"),
    toolBox: () => take("box"),
    toolScribble: () => take("scribble"),
    exemplar: () => {
      if (byId("exemplar").disabled || session.doc.picture === null) return;
      exemplarDialog.open(session.doc.picture, documents.activeQuery(session.doc)?.label ?? "");
    },
    sign: () => tools.flip(),
    thinner: () => tools.changeBrush(-1),
    thicker: () => tools.changeBrush(1),
    arrow: (event) => {
      const { picture } = session.doc;
      if (picture === null || event.target.closest(".panel, .bar")) return false;
      if (tools.tool === "pan") stage.panBy(panOfArrow(event));
      else {
        crossHair.move(event, picture);
        pen.move(crossHair.place);
      }
    },
    enter: () => enter(tools.isPositive),
    enterNegative: () => enter(false),
    escape: () => {
      clearNotice();
      if (pen.draft) pen.cancel();
      else if (crossHair.place) crossHair.hide();
      else select(null);
      render();
    },
    candidate: ({ key }) => {
      const query = documents.activeQuery(session.doc);
      if (query) commands.choose(query.id, Number(key) - 1);
    },
    walk: ({ key }) => {
      const { queries, activeId } = session.doc;
      if (queries.length === 0) return;
      const at = queries.findIndex((query) => query.id === activeId);
      const next = key === "j" ? at + 1 : at < 0 ? queries.length - 1 : at - 1;
      select(queries[(next + queries.length) % queries.length].id);
    },
    remove: () => session.doc.activeId !== null && commands.removeQuery(session.doc.activeId),
    hide: () => {
      session.masksHidden = !session.masksHidden;
      render();
    },
    undo: () => store.undo(),
    redo: () => store.redo(),
    clear: () => commit({ ...session.doc, queries: [], activeId: null }),
    zoomIn: () => stage.zoomBy(ZOOM_STEP),
    zoomOut: () => stage.zoomBy(1 / ZOOM_STEP),
    zoomFit: () => stage.fit(),

    addPrompt,
    select: (id) => select(session.doc.activeId === id ? null : id),
    find: (phrases, burst) => commit(documents.addPhrases(session.doc, phrases), burst),
    rename: (id, label) => commit(documents.renameQuery(session.doc, id, label)),
    toggleQuery: (id) => commit(documents.changeQuery(session.doc, id, (query) => ({ hidden: !query.hidden }))),
    removeQuery: (id) => commit(documents.removeQuery(session.doc, id)),
    choose: (id, candidate) => {
      const query = session.doc.queries.find((each) => each.id === id);
      if (!session.model?.can_propose || !documents.onlyPoints(query)) return;
      commit(documents.changeQuery(session.doc, id, () => ({ candidate })));
    },
    showExample: (prompt, label) => {
      if (documents.activeQuery(session.doc)) addPrompt(prompt);
      else commit(documents.addQuery({ ...session.doc, isPanoptic: false }, label, prompt));
    },
    showPanoptic: (isPanoptic) => commit({ ...session.doc, isPanoptic, activeId: null }),
    slide: (name, value) => commit({ ...session.doc, [name]: value }, name),
    settle: () => store.endBurst(),
    // Thresholds are a model's own.
    chooseModel: (model) => commit({ ...session.doc, model, presence: null, maskThreshold: null }),
  };
  return commands;
}
