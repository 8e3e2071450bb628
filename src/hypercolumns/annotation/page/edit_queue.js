// Edits on their way to the server: sent in order, one after the other, again and again until they are answered.
// Painting never waits for them. An edit leaves the queue only when the server has answered it.

import * as api from "./api.js";
import { VOID } from "./labels.js";
import { Lane } from "./lane.js";

const MOST_AT_ONCE = 50;

const SEND = {
  edit: (image, batch) => api.sendEdits(image, batch.map(({ value, runs }) => ({ value, runs }))),
  undo: (image) => api.undo(image),
  redo: (image) => api.redo(image),
  fill: (image, [{ value, runs }]) => api.fill(image, value, runs),
  accept: (image, [{ value, runs }]) => api.fill(image, value, runs),
};

export class EditQueue {
  #depths = new Map(); // the number of undo steps of an image that the server confirmed; none where it is not known
  #answers = new Map(); // how often the server has told something about the labels of an image
  #singles = 0; // how many of the next edits go alone, because the server has refused them together
  #lane;

  /** on: {answered(image, answer, operation), reloaded(image, labels), refused(image, error), lost(error), changed()}. */
  constructor(on) {
    this.on = on;
    this.#lane = new Lane({
      next: () => this.#nextBatch(),
      send: (batch) => this.#send(batch),
      countDone: (batch) => this.#countDone(batch),
      lost: (error) => this.on.lost(error),
      changed: () => this.on.changed(),
    });
  }

  get length() {
    return this.#lane.waiting.length;
  }

  /** What the server has not answered of an image, oldest first. Edits of it are valid on top of what it says. */
  pending(image) {
    return this.#lane.waiting.filter((one) => one.image === image);
  }

  add(operation) {
    this.#lane.add(operation);
    this.on.changed();
  }

  /** Ask for the labels of an image. They may be older than an answer that comes meanwhile, see `isFresh`. */
  async labels(image, signal) {
    const answers = this.#answers.get(image);
    return { ...(await api.labels(image, signal)), answers };
  }

  /** Whether what `labels` has returned is as new as all that the server has answered since. */
  isFresh(image, { answers }) {
    return answers === this.#answers.get(image);
  }

  /** Remember how many steps the server can undo, which tells later whether a lost answer stood for a done edit. */
  confirm(image, depth) {
    if (!this.pending(image).length) this.#depths.set(image, depth);
  }

  /** Do not wait any longer for the next try. */
  retryNow() {
    this.#lane.retryNow();
  }

  #nextBatch() {
    const { waiting } = this.#lane;
    const [first] = waiting;
    if (first?.kind !== "edit" || this.#singles) return waiting.slice(0, 1);
    const end = waiting.findIndex(({ kind, image }) => kind !== "edit" || image !== first.image);
    return waiting.slice(0, Math.min(MOST_AT_ONCE, end < 0 ? waiting.length : end));
  }

  /** Send a batch; return how many of it are settled. */
  async #send(batch) {
    const [{ kind, image }] = batch;
    try {
      const answer = await SEND[kind](image, batch);
      this.#note(image, batch.length);
      this.#depths.set(image, answer.undo);
      return { settled: batch.length, tell: () => this.on.answered(image, answer, batch.at(-1)) };
    } catch (error) {
      if (!(error instanceof api.RefusedError)) throw error;
      return this.#refused(batch, error);
    }
  }

  /** Of edits that are refused together, one may be wrong: the others must not be lost with it. */
  #refused(batch, error) {
    if (batch.length > 1) {
      this.#singles = batch.length;
      return { settled: 0 };
    }
    const [{ image }] = batch;
    this.#note(image, 1);
    return { settled: 1, tell: () => this.on.refused(image, error) }; // the page says so and shows the server's labels
  }

  /**
   * After a lost answer: how many of a batch the server had done, so that no step of undo is there twice. Where it
   * can't be told, none: to label pixels a second time changes nothing. Another page may have done the steps, so pixels
   * that do not have their label were not labelled.
   */
  async #countDone(batch) {
    const [{ kind, image }] = batch;
    const labels = await this.labels(image);
    if (!this.isFresh(image, labels)) {
      this.#depths.delete(image);
      return { settled: 0 };
    }
    const steps = (labels.undo - (this.#depths.get(image) ?? labels.undo)) * (kind === "undo" ? -1 : 1);
    const counted = Math.max(0, Math.min(batch.length, steps));
    const settled = holds(labels.values, batch.slice(0, counted)) ? counted : 0;
    this.#depths.set(image, labels.undo);
    this.#note(image, settled);
    return { settled, tell: () => this.on.reloaded(image, { ...labels, answers: this.#answers.get(image) }) };
  }

  #note(image, settled) {
    this.#answers.set(image, (this.#answers.get(image) ?? 0) + 1);
    this.#singles = Math.max(0, this.#singles - settled);
  }
}

/** Whether labels are as edits, fills and accepted suggestions left them. It says nothing of an undo or a redo. */
function holds(values, operations) {
  const after = values.slice();
  for (const { kind, value, runs = [] } of operations) {
    for (let index = 0; index < runs.length; index += 2) {
      const pixels = after.subarray(runs[index], runs[index] + runs[index + 1]);
      if (kind === "edit") pixels.fill(value);
      else if (pixels.includes(VOID)) return false; // these label all pixels that have no label
    }
  }
  return after.every((value, index) => value === values[index]);
}
