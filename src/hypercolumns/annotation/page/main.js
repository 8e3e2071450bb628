// Puts the parts together: what happens in one of them is passed on to the others here.

import { makeActions } from "./actions.js";
import * as api from "./api.js";
import { ClassList } from "./class_list.js";
import { Display } from "./display.js";
import { followState } from "./feeds.js";
import { ImageList } from "./image_list.js";
import { VOID } from "./labels.js";
import { Pointer } from "./pointer.js";
import { readPlace, showPrediction } from "./reading.js";
import { Screen } from "./screen.js";
import { keyTable, listenToKeys, writeHelp } from "./shortcuts.js";
import {
  Connection, dismissNotice, showError, showFailure, showModel, showNotice, showPlace, showSaved, showState,
} from "./status.js";
import { Suggestion } from "./suggestion.js";
import { MAX_SIZE, Tools } from "./tools.js";
import { View } from "./view.js";
import { Workspace } from "./workspace.js";

const BRUSH = 10; // CSS pixels of the brush at first, whatever the size of the image
const get = (id) => document.getElementById(id);
const page = { classes: [], model: null, problem: null, drawnVersion: null, hasSize: false };

page.view = new View();
page.connection = new Connection(showStatus, recovered);
page.workspace = new Workspace(page.view, {
  opened: imageOpened,
  closed: imageClosed,
  failed: showError,
  painted() {
    page.screen.photo = page.workspace.photo;
    page.screen.labelMap = page.workspace.labels;
    page.screen.redraw("labels");
    readUnderPointer();
  },
  grid: newPrediction,
  steps: showSteps,
  asked: (operation) => page.suggestion.labelsChange(operation),
  answered: (answer, operation) => page.suggestion.answered(operation),
  labelled(image, labelled) {
    page.images.update([{ number: image, labelled }]);
    showLabelled();
  },
  found: (channel) => page.connection.found(channel),
  lost: (channel, error) => page.connection.lost(channel, error),
  queue: showStatus,
});
page.tools = new Tools({
  preview: (runs, value) => page.workspace.preview(runs, value),
  restore: () => page.workspace.restore(),
  edit(value, runs) {
    tell("stroke-end", { image: page.workspace.image });
    page.workspace.edit(value, runs);
  },
  fill: (row, column, value) => page.workspace.fill(row, column, value),
  changed: toolsChanged,
});
page.display = new Display((...overlays) => page.screen?.redraw(...overlays));
page.screen = new Screen(get("canvas"), page.view, page.display, page.tools);
page.screen.onResized = viewChanged;
page.screen.onDrawn = markDrawn;
page.images = new ImageList(openImage);
page.classList = new ClassList((value) => page.tools.setValue(value));
page.suggestion = new Suggestion(page.workspace, showImage, {
  failed: showError,
  said: (reason) => showNotice(reason, "note"),
  ready: () => dismissNotice("note"),
  region(sides) {
    page.screen.region = sides;
    if (page.workspace.image !== null) viewChanged();
  },
});
page.pointer = new Pointer(get("canvas"), page.view, page.tools, {
  viewChanged,
  toolsChanged: () => page.screen.redraw("tools"),
  moved: readUnderPointer,
});
page.openImage = openImage;
page.viewChanged = viewChanged;
page.readUnderPointer = readUnderPointer;
start();

async function start() {
  const actions = makeActions(page);
  const table = keyTable(actions);
  writeHelp(table, get("help-table"));
  listenToKeys(table);
  connectControls(actions);
  window.addEventListener("themechange", () => page.screen.redraw("tools"));
  window.addEventListener("beforeunload", (event) => page.workspace.waiting && event.preventDefault());
  window.addEventListener("online", () => page.workspace.queue.retryNow());
  get("size").max = MAX_SIZE;
  page.hasSize = page.tools.recall();
  const session = await loadSession();
  page.classes = page.tools.classes = session.classes;
  page.screen.setClasses(session.classes);
  page.suggestion.setClasses(session.classes);
  page.classList.setClasses(session.classes);
  takeSession(session);
  toolsChanged();
  followState({
    state: takeState,
    found: () => page.connection.found("state"),
    lost: (error) => page.connection.lost("state", error),
    refused: showError,
  });
  const first = session.images.find(({ number }) => String(number) === location.hash.slice(1)) ?? session.images[0];
  if (first) openImage(first.number);
}

async function loadSession() {
  for (;;) {
    try {
      const session = await api.session();
      page.connection.found("session");
      return session;
    } catch (error) {
      page.connection.lost("session", error);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

function takeSession(session) {
  page.session = session.session;
  page.images.setSession(session);
  page.model = session.model;
  showLabelled();
}

function takeState(state) {
  if (state.session !== page.session) {
    page.session = state.session;
    recovered(); // it was started again while the page was hidden
  }
  page.images.update(state.images);
  page.model = state.model;
  showLabelled();
  page.suggestion.stateChanged();
  closeIfBroken();
  if (state.problem && state.problem !== page.problem) showError(new Error(state.problem));
  page.problem = state.problem;
  showSaved(state.saved);
  showStatus();
}

function showLabelled() {
  const { shares, titles } = page.images.labelShares();
  page.classList.showShares(shares, "labelled", titles);
  showModel(page.model, page.images.labelledCount());
}

/** Close the open image if the server has found that it can't be used. */
function closeIfBroken() {
  const { image } = page.workspace;
  const problem = image === null ? null : page.images.get(image).problem;
  if (problem) page.workspace.close(image, new Error(problem));
}

/** The server answers again: it may have been started again, so take what it holds. */
async function recovered() {
  page.workspace.queue.retryNow();
  takeSession(await loadSession());
  if (page.workspace.image !== null) page.workspace.reload();
}

/** Open an image that the user has chosen: whatever was suggested is no longer wanted. */
function openImage(number) {
  page.suggestion.dismiss();
  showImage(number);
}

/** Open an image; returns whether it was opened. */
async function showImage(number) {
  page.tools.cancel();
  page.images.setCurrent(number);
  get("image-name").textContent = page.images.get(number).name;
  tell("open-start", { image: number });
  return page.workspace.open(number);
}

function imageOpened() {
  const { image, photo } = page.workspace;
  const { name } = page.images.get(image);
  showFailure(name, null);
  showName(name);
  get("image-name").title = `${name}, ${photo.width} x ${photo.height} pixels`;
  history.replaceState(null, "", `#${image}`); // a reload comes back to this image
  page.tools.setImage(photo.height, photo.width);
  page.screen.grid = page.drawnVersion = null;
  if (!page.hasSize) page.tools.setSize(Math.max(3, BRUSH / page.view.scale));
  page.hasSize = page.pointer.isReady = true;
  showPrediction(page, null);
  showStatus();
  viewChanged();
  requestAnimationFrame(() => requestAnimationFrame(() => tell("image-drawn", { image })));
}

/** Nothing can be painted, and what was open is gone: a stroke that is meant for this image must not hit another one. */
function imageClosed(image, error) {
  const { name } = page.images.get(image);
  page.tools.cancel();
  page.tools.keyboard = page.tools.cursor = null;
  page.pointer.stop();
  page.screen.photo = page.screen.grid = null;
  page.screen.redraw("tools");
  page.suggestion.dismiss();
  showFailure(name, error);
  showName(name);
  get("image-name").title = name;
  showPrediction(page, null);
  showStatus();
  readUnderPointer();
}

function showName(name) {
  const [place, count] = page.images.place();
  get("image-name").textContent = place ? `${name}  ·  ${place} / ${count}` : name;
  document.title = `${name} - hypercolumns`;
}

function viewChanged() {
  get("zoom").textContent = `${Math.round(100 * page.view.scale)} %`;
  page.screen.redraw("view");
  page.workspace.follow();
}

function newPrediction() {
  page.screen.grid = page.workspace.grid;
  page.screen.redraw("prediction");
  showPrediction(page, page.workspace.grid);
  showStatus();
  readUnderPointer();
}

/** Measure when a prediction is on the screen: after the frame in which it was drawn. */
function markDrawn() {
  const { grid, image } = page.workspace;
  if (!grid || grid.version === page.drawnVersion) return;
  page.drawnVersion = grid.version;
  const detail = { image, version: grid.version };
  requestAnimationFrame(() => tell("prediction-drawn", detail));
}

/** For whoever measures the page: what happened, and when by performance.now(). */
function tell(name, detail) {
  window.dispatchEvent(new CustomEvent(name, { detail: { ...detail, time: performance.now() } }));
}

function readUnderPointer() {
  showPlace(readPlace(page));
}

function toolsChanged() {
  const { tools } = page;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === tools.tool));
  }
  get("size").value = tools.size;
  get("size-value").textContent = tools.size;
  page.classList?.setCurrent(tools.value);
  page.suggestion?.showOther(tools.value, tools.value === VOID ? "not labelled" : (page.classes[tools.value]?.name ?? ""));
  page.pointer?.toolsChanged();
  page.screen?.redraw("tools");
}

function showSteps() {
  document.querySelector("[data-do=undo]").disabled = page.workspace.undo < 1;
  document.querySelector("[data-do=redo]").disabled = page.workspace.redo < 1;
}

function showStatus() {
  const { workspace, model } = page;
  const isPredicting = model?.steps > 0 && workspace.image !== null && !workspace.grid;
  const activity = isPredicting ? "predicting" : model?.steps > 0 && !model.trained ? "training" : null;
  showState(workspace.waiting, page.connection.problem, activity);
}

function connectControls(actions) {
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", (event) => actions[button.dataset.do](event));
  }
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => page.tools.choose(button.dataset.tool));
  }
  for (const button of document.querySelectorAll("[data-drawer]")) {
    button.addEventListener("click", () => actions.drawer(button.dataset.drawer));
  }
  document.addEventListener("click", (event) => {
    // After the mouse, keys mean the image again: Space shall pan, not press the button once more.
    const isByMouse = event.detail > 0 && event.target.closest("button") && !get("help").open;
    if (isByMouse) get("canvas").focus({ preventScroll: true });
  });
  get("size").addEventListener("input", (event) => page.tools.chooseSize(event.target.valueAsNumber));
  get("notice").querySelector("button").addEventListener("click", () => dismissNotice());
  window.addEventListener("keyup", (event) => event.key === " " && page.pointer.setSpace(false));
  window.addEventListener("blur", () => page.pointer.setSpace(false));
}
