// Edits on their way to the server: sent in order, one after the other, again and again until they are answered.
// Painting never waits for them. An edit leaves the queue only when the server has answered it.
// A fill waits in the server until its region is predicted. So fills go in a lane of their own, and strokes pass them.

import * as api from "./api.js";
import { Lane } from "./lane.js";

const MOST_AT_ONCE = 50;

const SEND = {
  edit: (image, batch) => api.sendEdits(image, batch.map(({ value, runs }) => ({ value, runs }))),
  undo: (image) => api.undo(image),
  redo: (image) => api.redo(image),
  fill: (image, [{ row, column, value }]) => api.fill(image, row, column, value),
  accept: (image, [{ value, runs }]) => api.accept(image, value, runs),
};

export class EditQueue {
  #depths = new Map(); // the number of undo steps of an image that the server confirmed; none where it is not known
  #answers = new Map(); // how often the server has told something about the labels of an image
  #mixed = new Set(); // images for which a fill and a stroke were on their way together, in an unknown order
  #singles = 0; // how many of the next edits go alone, because the server has refused them together
  #strokes = this.#lane(() => this.#nextBatch());
  #fills = this.#lane(() => this.#fills.waiting.slice(0, 1));

  /**
   * on: {answered(image, answer, operation), reloaded(image, labels), refused(image, error), lost(error), changed(),
   * mixed(image)}; mixed: the page can't know in which order the server has done a fill and a stroke.
   */
  constructor(on) {
    this.on = on;
  }

  get length() {
    return this.#fills.waiting.length + this.#strokes.waiting.length;
  }

  /** What the server has not answered of an image, oldest first. Edits of it are valid on top of what it says. */
  pending(image) {
    return [...this.#fills.waiting, ...this.#strokes.waiting].filter((one) => one.image === image);
  }

  add(operation) {
    this.#strokes.add(operation);
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
    this.#strokes.retryNow();
    this.#fills.retryNow();
  }

  #lane(next) {
    const lane = new Lane({
      next,
      send: (batch) => this.#send(lane, batch),
      countDone: (batch) => this.#countDone(lane, batch),
      lost: (error) => this.on.lost(error),
      changed: () => this.on.changed(),
    });
    return lane;
  }

  #nextBatch() {
    const { waiting } = this.#strokes;
    while (waiting[0]?.kind === "fill") this.#fills.add(waiting.shift()); // now that all before it is done
    const [first] = waiting;
    if (first?.kind !== "edit" || this.#singles) return waiting.slice(0, 1);
    const end = waiting.findIndex(({ kind, image }) => kind !== "edit" || image !== first.image);
    return waiting.slice(0, Math.min(MOST_AT_ONCE, end < 0 ? waiting.length : end));
  }

  /** Send a batch; return how many of it are settled. */
  async #send(lane, batch) {
    const [{ kind, image }] = batch;
    if (kind === "undo" || kind === "redo") await this.#fills.without(image); // it means the fill, not what was before
    lane.image = image;
    try {
      const answer = await SEND[kind](image, batch);
      lane.image = null;
      this.#take(lane, batch, answer.undo);
      return { settled: batch.length, tell: () => this.#answered(image, answer, batch.at(-1)) };
    } catch (error) {
      if (!(error instanceof api.RefusedError)) throw error;
      lane.image = null;
      return this.#refused(lane, batch, error);
    }
  }

  #answered(image, answer, operation) {
    this.on.answered(image, answer, operation);
    const isBusy = this.#strokes.image === image || this.#fills.image === image;
    if (!isBusy && this.#mixed.delete(image)) this.on.mixed(image);
  }

  /** Of edits that are refused together, one may be wrong: the others must not be lost with it. */
  #refused(lane, batch, error) {
    if (batch.length > 1) {
      this.#singles = batch.length;
      return { settled: 0 };
    }
    const [{ image }] = batch;
    this.#note(lane, image, 1);
    return { settled: 1, tell: () => this.on.refused(image, error) }; // the page says so and shows the server's labels
  }

  #other(lane) {
    return lane === this.#strokes ? this.#fills : this.#strokes;
  }

  /** Note that the server has done a batch, and how many steps it can undo since. */
  #take(lane, batch, depth) {
    const [{ kind, image }] = batch;
    this.#note(lane, image, batch.length);
    if (this.#other(lane).image === image) {
      this.#mixed.add(image);
      const before = this.#depths.get(image); // the server may or may not count what is still on its way
      if (before !== undefined) this.#depths.set(image, before + (kind === "undo" ? -1 : batch.length));
    } else this.#depths.set(image, depth);
  }

  /**
   * After a lost answer: how many of a batch the server had done, so that no step of undo is there twice. Where it
   * can't be told, none: to label pixels a second time changes nothing.
   */
  async #countDone(lane, batch) {
    const [{ kind, image }] = batch;
    const labels = await this.labels(image);
    if (!this.isFresh(image, labels) || this.#other(lane).image === image) {
      this.#depths.delete(image);
      return { settled: 0 };
    }
    const steps = (labels.undo - (this.#depths.get(image) ?? labels.undo)) * (kind === "undo" ? -1 : 1);
    const settled = Math.max(0, Math.min(batch.length, steps));
    lane.image = null;
    this.#depths.set(image, labels.undo);
    this.#mixed.delete(image); // the page gets all labels now
    this.#note(lane, image, settled);
    return { settled, tell: () => this.on.reloaded(image, { ...labels, answers: this.#answers.get(image) }) };
  }

  #note(lane, image, settled) {
    this.#answers.set(image, (this.#answers.get(image) ?? 0) + 1);
    if (lane === this.#strokes) this.#singles = Math.max(0, this.#singles - settled);
  }
}
