// What the page says about itself: saved or not, connected or not, trained or not, and errors.

import { SessionEndedError, TroubleError } from "./api.js";
import { counted } from "./words.js";

const get = (id) => document.getElementById(id);

/** Whether the server answers, by channel: one that fails is not hidden by another that works. */
export class Connection {
  #lost = new Map();

  constructor(onChange, onRecovered) {
    Object.assign(this, { onChange, onRecovered });
  }

  lost(channel, error) {
    this.#lost.set(channel, error);
    this.onChange();
  }

  found(channel) {
    if (!this.#lost.delete(channel)) return;
    this.onChange();
    if (!this.#lost.size) this.onRecovered();
  }

  /** The error for which the server does not do what it should, or null. */
  get problem() {
    return this.#lost.values().next().value ?? null;
  }
}

const SLOW = 400; // milliseconds: an edit that is saved sooner needs no word, which would flicker with each stroke
let slowTimer;

/**
 * Show the state of the edits: sent, on their way, or waiting for a connection.
 * activity: what the server is doing, "training" for example, or null.
 */
export function showState(waiting, problem, activity) {
  clearTimeout(slowTimer);
  if (waiting && !problem) slowTimer = setTimeout(() => writeState(waiting, problem, activity), SLOW);
  else writeState(waiting, problem, activity);
}

function writeState(waiting, problem, activity) {
  const edits = waiting === 1 ? "1 edit" : `${waiting} edits`;
  let [kind, text] = ["good", "saved"];
  if (problem) [kind, text] = ["bad", waiting ? `${short(problem)}, ${edits} waiting` : short(problem)];
  else if (waiting) [kind, text] = ["busy", "saving"];
  else if (activity) [kind, text] = ["busy", `saved, ${activity}`];
  const pill = get("save-state");
  pill.ariaLive = kind === "bad" ? "assertive" : "off"; // a screen reader shall not read each saving
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.kind = kind;
  if (problem instanceof SessionEndedError) showError(new Error(endedText(waiting)));
  pill.title = problem ? `${problem.message}. What you paint is kept here and sent as soon as the server takes it.` : "";
}

function endedText(waiting) {
  const unsaved = waiting ? ` What you painted since is only in this page (${waiting} edits).` : "";
  return `This page belongs to a server that has ended: open the address that it printed when it started again.${unsaved}`;
}

function short(problem) {
  if (problem instanceof SessionEndedError) return "session ended";
  return problem instanceof TroubleError ? "not saved" : "connection lost";
}

/** Say what the model knows. labelled: the number of labelled images. */
export function showModel(model, labelled) {
  const line = get("model-line");
  const isThere = model?.steps > 0 && labelled > 0;
  const does = model?.trained ? "The model has learned" : "The model is learning";
  line.textContent = isThere ? `${does} ${counted(labelled, "image")}` : "No model yet: paint strokes of two classes";
  const loss = typeof model?.loss === "number" ? `; its error on your labels (cross-entropy) is ${model.loss.toFixed(3)}` : "";
  line.title = isThere ? `${counted(model.steps, "step")} of training${loss}` : "";
}

export function showSaved(path) {
  get("saved").textContent = path ? `model: ${path}` : "";
  get("saved").title = path ?? "";
}

/** Show an error until it is dismissed or another one takes its place. */
export function showError(error) {
  showNotice(error.message, "error");
}

/** Show a line over the image. kind: "error" or "note". */
export function showNotice(text, kind) {
  get("notice").querySelector("span").textContent = text; // as it is: it may begin with the name of a file
  get("notice").dataset.kind = kind;
  get("notice").hidden = false;
}

/** Take the line away: any one, or only one of a kind. */
export function dismissNotice(kind = get("notice").dataset.kind) {
  if (get("notice").dataset.kind === kind) get("notice").hidden = true;
}

/** Show in the place of the image why it can't be opened; null once it is open. */
export function showFailure(name, error) {
  get("failure").hidden = error === null;
  get("failure").querySelector("strong").textContent = error ? `${name} can't be opened` : "";
  get("failure").querySelector("p").textContent = error ? error.message : "";
}

/** Tell what lies under the pointer. */
export function showPlace(place) {
  get("place").textContent = place;
}

let entryTimer;

/** Tell shortly what a key has done. */
export function showEntry(text) {
  get("entry").textContent = text;
  clearTimeout(entryTimer);
  entryTimer = setTimeout(() => (get("entry").textContent = ""), 1600);
}
