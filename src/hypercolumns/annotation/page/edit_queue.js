// Edits on their way to the server: sent in order, one after the other, again and again until they are answered.
// Painting never waits for them. An edit leaves the queue only when the server has answered it. Each has an id, by which
// the server knows one that it has done already, so that a lost answer makes no step of undo twice.

import * as api from "./api.js";
import { Lane } from "./lane.js";

const MOST_AT_ONCE = 50;

const SEND = {
  edit: (image, batch) => api.sendEdits(image, batch.map(({ id, value, runs }) => ({ id, value, runs }))),
  undo: (image, [{ id }]) => api.undo(image, id),
  redo: (image, [{ id }]) => api.redo(image, id),
  fill: (image, [{ id, value, runs }]) => api.fill(image, id, value, runs),
  accept: (image, [{ id, value, runs }]) => api.fill(image, id, value, runs),
};

/** An id that no other page has. `crypto.randomUUID` is missing in pages that come over the network unencrypted. */
const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

export class EditQueue {
  #answers = new Map(); // how often the server has told something about the labels of an image
  #singles = 0; // how many of the next edits go alone, because the server has refused them together
  #lane;

  /**
   * on: {answered(image, answer, operation), refused(image, error), lost(error), changed()}. After `lost`, the answers may
   * lack changes that were told in a lost one, so the labels should be asked for.
   */
  constructor(on) {
    this.on = on;
    this.#lane = new Lane({
      next: () => this.#nextBatch(),
      send: (batch) => this.#send(batch),
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
    this.#lane.add({ ...operation, id: newId() });
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

  #note(image, settled) {
    this.#answers.set(image, (this.#answers.get(image) ?? 0) + 1);
    this.#singles = Math.max(0, this.#singles - settled);
  }
}
