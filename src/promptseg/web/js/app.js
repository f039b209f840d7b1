/** The page: puts the parts together. The document decides what is asked; it and the answers decide what is drawn. */

import { ApiError } from "./api.js";
import { makeCommands } from "./commands.js";
import { CrossHair } from "./cross-hair.js";
import { wireDialogs } from "./dialogs.js";
import { activeQuery, hasPlace, openPicture } from "./document.js";
import { byId, setText } from "./dom.js";
import { fillGalleries } from "./examples.js";
import { ExemplarDialog } from "./exemplar-dialog.js";
import { ExportDialog } from "./export-dialog.js";
import { percent, preferredLanguage, rememberLanguage, t, useLanguage } from "./i18n.js";
import { wireInput } from "./input.js";
import { showModels } from "./models.js";
import { Panel } from "./panel.js";
import { Pen } from "./pen.js";
import { openFile, PictureError } from "./pictures.js";
import { describeAnswer } from "./row.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { clearNotice, describeTask, say, showHint, showNotice, showServer } from "./status-line.js";
import { wireTheme } from "./theme.js";
import { Tools } from "./tools.js";
import { showViews } from "./views.js";

const session = new Session({ onChange: render, onAnswers: announce, onError: showError });
const pen = new Pen();
const tools = new Tools(render);
const stage = new Stage(byId("stage"), makeScene, showZoom);
const crossHair = new CrossHair(stage);
const exportDialog = new ExportDialog(() => session.fetchExport());
const exemplarDialog = new ExemplarDialog({
  openFile: (file) => readPicture(file, file.name),
  add: (prompt, label) => commands.showExample(prompt, label),
});
const commands = makeCommands({ session, stage, tools, pen, crossHair, exemplarDialog, openExport, render });
const panel = new Panel({ ...commands, hide: commands.toggleQuery, remove: commands.removeQuery });

let isQueued = false;

/** Bring everything on the screen up to date, once for all changes of a moment. */
function render() {
  if (isQueued) return;
  isQueued = true;
  queueMicrotask(() => {
    isQueued = false;
    renderNow();
  });
}

function renderNow() {
  const { doc, server, store } = session;
  const { threshold: presence, maskThreshold } = session;
  panel.update(doc, (query) => session.rowState(query), { presence, maskThreshold });
  showViews(doc, session.asker.named, doc.picture !== null && (session.model?.can_panoptic ?? false));
  tools.update((kind) => session.takes(kind));
  showServer(server.state, session.asker.seconds);
  showModels(server.models, doc.model ?? server.defaultModel);
  showServerNotice(server.state);
  byId("empty").hidden = doc.picture !== null;
  byId("tools").hidden = doc.picture === null;
  byId("stage-foot").hidden = doc.picture === null;
  byId("undo").disabled = !store.canUndo;
  byId("redo").disabled = !store.canRedo;
  byId("clear").disabled = doc.queries.length === 0;
  byId("export").disabled = session.exportEntries().length === 0;
  showStage(doc.picture);
  session.layers(); // what is not traced yet is from here on
  byId("stage").setAttribute("aria-busy", String(!session.isIdle));
  const task = describeTask(session.asker.task, server.state.phase);
  showHint(task || describeTool(), task !== "");
  if (task) say(task);
  document.title = doc.picture === null ? "promptseg" : `${doc.picture.name} · promptseg`;
  stage.invalidate();
}

/** @param {import("./pictures.js").Picture|null} picture */
function showStage(picture) {
  const { dataset } = byId("stage");
  dataset.cursor = tools.tool;
  dataset.picture = picture === null ? "" : `${picture.width} ${picture.height}`;
}

/** @returns {import("./stage.js").Scene} */
function makeScene() {
  const { doc } = session;
  return {
    picture: doc.picture,
    layers: session.layers(),
    prompts: session.masksHidden || doc.isPanoptic ? [] : doc.queries.filter((query) => !query.hidden),
    activeId: doc.activeId,
    opacity: doc.opacity,
    draft: pen.draft,
    crossHair: tools.tool === "pan" ? null : crossHair.place,
  };
}

function showZoom() {
  setText(byId("zoom"), percent(stage.view.scale));
}

function describeTool() {
  const active = activeQuery(session.doc);
  if (session.doc.picture === null) return "";
  if (active && !hasPlace(active)) return t("hint.needsPlace", { label: active.label });
  const joins = active && tools.tool !== "pan" ? ` ${t("hint.joins", { label: active.label })}` : "";
  return t(`hint.${tools.tool}`) + joins;
}

/** Say what new answers found, to who listens. @param {Map<number, import("./asker.js").Answer>} answers */
function announce(answers) {
  clearNotice("request");
  if (session.doc.isPanoptic) say(session.asker.named.map(({ query }) => query.label).join(", "));
  const describe = (query) => describeAnswer(answers.get(query.id).result, session.verdictOf(query));
  const said = session.doc.queries
    .filter((query) => answers.has(query.id))
    .map((query) => t("said.there", { label: query.label, detail: describe(query) }));
  if (said.length) say(said.join("; "));
  render();
}

/** @param {Error} error of a request that stays refused */
function showError(error) {
  const retry = { label: t("error.retry"), run: () => session.asker.ask(session.doc) };
  const undo = session.store.canUndo ? { label: t("error.undo"), run: commands.undo } : null;
  if (!(error instanceof ApiError)) {
    showNotice(error.message, retry, "request");
    reportError(error); // a bug of the page: the console has the place
    return;
  }
  const message = [error.message, error.wayOut].filter(Boolean).join(" – ");
  if (error.code === "busy") showNotice(t("error.busy"), retry, "request");
  else if (error.status === 413) showNotice(t("error.tooLarge", { message }), undo, "request");
  else showNotice(t("error.request", { message }), undo, "request");
}

/** @param {import("./server.js").ServerState} state */
function showServerNotice(state) {
  const look = { label: t("error.retry"), run: () => session.server.lookNow() };
  if (state.phase === "gone") showNotice(t("error.gone"), look, "server");
  else if (state.phase === "failed") showNotice(t("error.failed", state), look, "server");
  else clearNotice("server");
  const dialog = byId("token-dialog");
  byId("token-wrong").hidden = !(state.phase === "locked" && state.wrong);
  if (state.phase === "locked" && !dialog.open) dialog.showModal();
  if (state.phase !== "locked" && dialog.open) dialog.close();
}

/**
 * @param {Blob} file
 * @param {string} name
 * @returns {Promise<import("./pictures.js").Picture|null>} null: it was said why
 */
async function readPicture(file, name) {
  try {
    const picture = await openFile(file, name, session.server.limits);
    const { width, height, original } = picture;
    const sizes = { width, height, originalWidth: original.width, originalHeight: original.height };
    if (width !== original.width) showNotice(t("notice.smaller", sizes));
    else clearNotice("message");
    return picture;
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    showNotice(t(error.key, error.params));
    return null;
  }
}

/** @param {Blob} file @param {string} name @param {string[]} phrases to ask for at once */
async function open(file, name, phrases = []) {
  const picture = await readPicture(file, name);
  if (picture === null) return;
  say(t("said.picture", picture));
  crossHair.hide();
  session.store.commit(openPicture(session.doc, picture), picture);
  // One step for undo: the picture of an example comes with its phrases.
  if (phrases.length) commands.find(phrases, picture);
  // A keyboard on the screen would cover the picture.
  if (matchMedia("(pointer: fine)").matches) byId("phrase").focus({ preventScroll: true });
}

function openExport() {
  exportDialog.open(session.exportEntries());
}

async function showLanguage(language) {
  byId("language").value = language;
  await useLanguage(language);
  showZoom();
  render();
}

async function start() {
  wireTheme(byId("theme"));
  wireDialogs();
  wireInput({ session, stage, tools, pen, crossHair, commands, open, exemplarDialog, render });
  byId("language").addEventListener("change", ({ target }) => {
    rememberLanguage(target.value);
    showLanguage(target.value);
  });
  await showLanguage(preferredLanguage());
  const choose = (blob, name, phrases) => {
    byId("examples-dialog").close();
    open(blob, name, phrases);
  };
  const { signal } = new AbortController();
  await session.server.patiently(() => fillGalleries(session.api, choose), { signal, onBusy: () => {} });
}

start();
