// Edits on their way to the server: sent in order, one after the other, again and again until they are answered.
// Painting never waits for them. An edit leaves the queue only when the server has answered it.

import * as api from "./api.js";

const FIRST_WAIT = 500; // milliseconds, doubled after each failure
const LONGEST_WAIT = 4000;
const MOST_AT_ONCE = 50;

const SEND = {
  edit: (image, batch) => api.sendEdits(image, batch.map(({ value, runs }) => ({ value, runs }))),
  undo: (image) => api.undo(image),
  redo: (image) => api.redo(image),
  fill: (image, [{ row, column, value }]) => api.fill(image, row, column, value),
  accept: (image, [{ value, runs }]) => api.accept(image, value, runs),
};

export class EditQueue {
  #waiting = []; // {kind, image, ...}: the first of them may be on its way
  #depths = new Map(); // the number of undo steps of an image that the server confirmed last
  #isRunning = false;
  #wake = () => {};

  /** on: {answered(image, answer), reloaded(image, labels), refused(image, error), lost(error), changed()}. */
  constructor(on) {
    this.on = on;
  }

  get length() {
    return this.#waiting.length;
  }

  /** What the server has not answered of an image, oldest first. What has runs is valid on top of what it says. */
  pending(image) {
    return this.#waiting.filter((one) => one.image === image);
  }

  add(operation) {
    this.#waiting.push(operation);
    this.on.changed();
    if (!this.#isRunning) this.#run();
  }

  /** Remember how many steps the server can undo, which tells later whether a lost answer stood for a done edit. */
  confirm(image, depth) {
    if (!this.pending(image).length) this.#depths.set(image, depth);
  }

  /** Do not wait any longer for the next try. */
  retryNow() {
    this.#wake();
  }

  async #run() {
    this.#isRunning = true;
    for (let wait = FIRST_WAIT, isUnsure = false; this.#waiting.length; ) {
      try {
        if (isUnsure) await this.#dropDone();
        isUnsure = false;
        if (this.#waiting.length) await this.#sendNext();
        wait = FIRST_WAIT;
      } catch (error) {
        if (!(error instanceof api.ConnectionError)) throw error;
        isUnsure = true;
        this.on.lost(error);
        await new Promise((resolve) => {
          this.#wake = resolve;
          setTimeout(resolve, wait);
        });
        wait = Math.min(LONGEST_WAIT, 2 * wait);
      }
    }
    this.#isRunning = false;
  }

  #nextBatch() {
    const [first] = this.#waiting;
    if (first.kind !== "edit") return [first];
    const end = this.#waiting.findIndex(({ kind, image }) => kind !== "edit" || image !== first.image);
    return this.#waiting.slice(0, Math.min(MOST_AT_ONCE, end < 0 ? this.#waiting.length : end));
  }

  async #sendNext() {
    const batch = this.#nextBatch();
    const [{ kind, image }] = batch;
    try {
      const answer = await SEND[kind](image, batch);
      this.#waiting.splice(0, batch.length);
      this.#depths.set(image, answer.undo);
      this.on.answered(image, answer, batch.at(-1));
    } catch (error) {
      if (!(error instanceof api.RefusedError)) throw error;
      this.#waiting.splice(0, batch.length); // the page says so, and shows what the server holds
      this.on.refused(image, error);
    }
    this.on.changed();
  }

  /** After a lost answer: drop the edits that the server had done, so that no step of undo is there twice. */
  async #dropDone() {
    const batch = this.#nextBatch();
    const [{ kind, image }] = batch;
    const labels = await api.labels(image);
    const steps = (labels.undo - (this.#depths.get(image) ?? labels.undo)) * (kind === "undo" ? -1 : 1);
    this.#waiting.splice(0, Math.max(0, Math.min(batch.length, steps)));
    this.#depths.set(image, labels.undo);
    this.on.reloaded(image, labels);
    this.on.changed();
  }
}
