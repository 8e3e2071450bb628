// What keys and buttons do.

import * as api from "./api.js";
import { VOID } from "./labels.js";
import { dismissNotice, showEntry, showError, showSaved } from "./status.js";

const PAN = 80; // CSS pixels of an arrow key
const CURSOR = 8; // CSS pixels that an arrow key moves the cursor
const ARROW = { arrowup: [0, -1], arrowdown: [0, 1], arrowleft: [-1, 0], arrowright: [1, 0] };
const get = (id) => document.getElementById(id);

export function makeActions(page) {
  const { suggestion, tools } = page;
  return {
    ...toolActions(page),
    ...classActions(page),
    ...viewActions(page),
    ...keyboardActions(page),
    cancel: () => closeDrawers() || tools.cancel() || suggestion.dismiss() || dismissNotice(),
    step: (distance) => step(page, distance),
    next: () => step(page, 1),
    previous: () => step(page, -1),
    suggest: () => suggestion.show(),
    accept: () => suggestion.accept() || suggestion.show(),
    acceptAs: () => suggestion.accept(tools.value),
    dismiss: () => suggestion.dismiss(),
    save,
    theme: () => get("theme").click(),
    help: () => get("help").showModal(),
    drawer: (name) => toggleDrawer(name),
  };
}

function toolActions({ tools, workspace }) {
  return {
    brush: () => tools.choose("brush"),
    eraser: () => tools.choose("eraser"),
    polygon: () => tools.choose("polygon"),
    fill: () => tools.choose("fill"),
    size: (direction) => tools.stepSize(direction),
    undo: () => tools.removeCorner() || (workspace.undo > 0 && workspace.ask("undo")),
    redo: () => workspace.redo > 0 && workspace.ask("redo"),
    removeCorner: () => tools.removeCorner(),
    finish: () => tools.finish(),
  };
}

function classActions(page) {
  const { classList } = page;
  return {
    digit(event) {
      const { digits, value } = classList.type(event.key, event.timeStamp);
      if (value === null) return showEntry(`${digits}: no such class, the last one is ${page.classes.length}`);
      showEntry(`${digits}: ${value === VOID ? "not labelled" : page.classes[value].name}`);
    },
    findClass() {
      if (!get("classes").classList.contains("open")) toggleDrawer("classes");
      get("class-filter").focus();
    },
  };
}

/** What the keys do in place of a mouse. */
function keyboardActions(page) {
  const { tools, view, pointer } = page;
  return {
    keyboardCursor() {
      tools.keyboard = tools.keyboard ? null : keyboardStart(page);
      showEntry(tools.keyboard ? "Arrow keys move the cursor" : "Arrow keys pan");
      page.screen.redraw("tools");
    },
    arrow(event) {
      const [across, down] = ARROW[event.key.toLowerCase()];
      if (tools.keyboard) return moveCursor(page, across, down, event.shiftKey);
      view.panBy(-across * PAN, -down * PAN);
      page.viewChanged();
    },
    press(event) {
      if (!tools.keyboard) return pointer.setSpace(true);
      if (event.repeat || !pointer.isReady) return;
      const place = [tools.keyboard[0] + 0.5, tools.keyboard[1] + 0.5];
      if (tools.stroke) return tools.release();
      tools.press(place, view, { predicted: event.shiftKey });
      if (!tools.stroke) tools.release(); // a corner or a fill, which need no second press
    },
  };
}

function viewActions(page) {
  const { view, display, screen } = page;
  const changeView = (change) => () => {
    change();
    page.viewChanged();
  };
  return {
    zoom(factor) {
      view.zoomAt(view.width / 2, view.height / 2, factor);
      page.viewChanged();
    },
    zoomIn: changeView(() => view.zoomAt(view.width / 2, view.height / 2, 1.25)),
    zoomOut: changeView(() => view.zoomAt(view.width / 2, view.height / 2, 0.8)),
    fit: changeView(() => view.fit()),
    original: changeView(() => view.zoomTo(1)),
    nextMode: () => display.nextMode(),
    borders: () => display.set({ borders: !display.borders }),
    labels: () => display.set({ labels: !display.labels }),
    opacity: (change) => display.set({ opacity: display.opacity + change }),
    hide() {
      display.hidden = !display.hidden;
      showEntry(display.hidden ? "The photo alone (H shows all)" : "");
      screen.redraw("tools");
    },
  };
}

function step({ images, openImage }, distance) {
  const number = images.neighbour(distance);
  if (number !== null) openImage(number);
}

function keyboardStart({ view, tools }) {
  const [x, y] = view.toImage(view.width / 2, view.height / 2);
  return [Math.min(tools.width - 1, Math.max(0, Math.floor(x))), Math.min(tools.height - 1, Math.max(0, Math.floor(y)))];
}

function moveCursor(page, across, down, isFine) {
  const { tools, view } = page;
  const distance = isFine ? 1 : Math.max(1, Math.round(CURSOR / view.scale));
  const [x, y] = tools.keyboard;
  tools.keyboard = [
    Math.min(tools.width - 1, Math.max(0, x + across * distance)),
    Math.min(tools.height - 1, Math.max(0, y + down * distance)),
  ];
  const before = [view.left, view.top];
  view.reveal(...tools.keyboard);
  tools.move([tools.keyboard[0] + 0.5, tools.keyboard[1] + 0.5]);
  if (view.left !== before[0] || view.top !== before[1]) page.viewChanged();
  page.screen.redraw("tools");
  page.readUnderPointer();
}

async function save() {
  try {
    const { path } = await api.save();
    showSaved(path);
    showEntry("Model saved");
  } catch (error) {
    showError(error);
  }
}

/** On a narrow screen: show one panel or hide it, and hide the other. */
function toggleDrawer(name) {
  for (const button of document.querySelectorAll("[data-drawer]")) {
    const panel = get(button.dataset.drawer);
    const isOpen = button.dataset.drawer === name && !panel.classList.contains("open");
    panel.classList.toggle("open", isOpen);
    button.setAttribute("aria-expanded", String(isOpen));
  }
}

/** Say whether one was open. On a wide screen, both are always there. */
function closeDrawers() {
  const open = document.querySelector("[data-drawer][aria-expanded=true]");
  if (open) toggleDrawer(open.dataset.drawer);
  return open !== null && open.checkVisibility();
}
