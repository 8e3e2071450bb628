// The open image: its photo, labels and prediction, and the edits that change its labels.

import * as api from "./api.js";
import { EditQueue } from "./edit_queue.js";
import { PredictionFeed } from "./feeds.js";
import { LabelMap } from "./labels.js";
import { PhotoStore } from "./photo.js";
import { RegionFills } from "./region_fills.js";

const RETRY = 1000; // milliseconds to the next try to open an image or to take its labels, where nothing answers

export class Workspace {
  #photos = new PhotoStore();
  #opening = new AbortController();
  #unfinished = null; // the labels before the stroke that is being painted, to put them back
  #isOutdated = false; // whether the server has changed labels since

  /**
   * view: which part of the image is shown. on: {opened(), closed(image, error), failed(error), painted(), grid(),
   * steps(), queue(), asked(operation), answered(answer, operation), labelled(image, counts), found(channel),
   * lost(channel, error)}. closed: this image can't be opened, so that none is open.
   */
  constructor(view, on) {
    Object.assign(this, { view, on, image: null, photo: null, labels: null, grid: null, undo: 0, redo: 0 });
    this.queue = new EditQueue({
      answered: (image, answer, operation) => this.#answered(image, answer, operation),
      refused: (image, error) => {
        this.on.failed(error);
        this.reload(image);
      },
      lost: (error) => this.on.lost("edits", error),
      changed: () => {
        if (!this.queue.length) this.on.found("edits");
        this.on.queue();
      },
    });
    this.fills = new RegionFills({
      region: (fill, predicted, runs) => this.#fillRegion(fill, predicted, runs),
      failed: (fill, error) => {
        this.#dropFill(fill.image);
        this.on.failed(error);
      },
      found: () => this.on.found("fill"),
      lost: (error) => this.on.lost("fill", error),
    });
    this.feed = new PredictionFeed({
      grid: (image, grid) => {
        if (image !== this.image) return;
        this.grid = grid;
        this.on.grid();
      },
      found: () => this.on.found("prediction"),
      lost: (error) => this.on.lost("prediction", error),
      refused: (error) => {
        this.on.found("prediction");
        this.on.failed(error);
      },
    });
  }

  /**
   * Open an image. What was open stays on the screen until the new one is there, or can't be opened. Returns whether it
   * was opened.
   */
  async open(image) {
    this.#opening.abort();
    this.#opening = new AbortController();
    const { signal } = this.#opening;
    while (!signal.aborted) {
      try {
        const [photo, labels] = await this.#load(image, signal);
        if (signal.aborted) return false;
        this.#show(image, photo, labels);
        this.on.found("opening");
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        const isLost = error instanceof api.ConnectionError;
        if (isLost) this.on.lost("opening", error);
        else this.on.found("opening"); // the server has answered, for example that the image can't be opened
        this.close(image, error);
        if (!isLost) return false;
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
    }
    return false;
  }

  /** Take the open image away, because of an error of this image or of the one that was to be opened. */
  close(image, error) {
    this.feed.stop();
    this.on.found("prediction"); // nobody asks for it any more
    this.#unfinished = null;
    Object.assign(this, { image: null, photo: null, labels: null, grid: null, undo: 0, redo: 0 });
    this.on.closed(image, error);
    this.on.steps();
  }

  async #load(image, signal) {
    for (;;) {
      const [photo, labels] = await Promise.all([this.#photos.load(image, signal), this.queue.labels(image, signal)]);
      if (!this.queue.isFresh(image, labels)) continue;
      if (photo.height === labels.height && photo.width === labels.width) return [photo, labels];
      const sizes = `${photo.width}x${photo.height} in this browser, but ${labels.width}x${labels.height} in the server`;
      throw new Error(`the image is ${sizes}: its pixels and its labels would not fit; tell the authors`);
    }
  }

  #show(image, photo, labels) {
    this.feed.stop();
    this.#unfinished = null; // of a stroke that the image before has interrupted
    Object.assign(this, { image, photo, grid: null });
    this.#reloaded(image, labels);
    this.view.setImage(photo.height, photo.width);
    this.on.opened();
    photo.ready.then(() => this.image === image && this.on.painted());
  }

  /** Take the labels from the server again, once it answers, and what it does not know yet on top. */
  async reload(image = this.image) {
    while (image === this.image && image !== null) { // the labels of another one come when it is opened
      try {
        const labels = await this.queue.labels(image);
        this.on.found("labels");
        return this.#reloaded(image, labels);
      } catch (error) {
        if (!(error instanceof api.ConnectionError) || error instanceof api.TroubleError) {
          this.on.found("labels"); // the server has answered
          return this.on.failed(error);
        }
        this.on.lost("labels", error);
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
    }
    this.on.found("labels"); // nobody asks for them any more
  }

  /** Show a part of a stroke before the stroke is an edit. */
  preview(runs, value) {
    if (!this.#unfinished) this.#isOutdated = false;
    this.#unfinished ??= this.labels.values.slice();
    this.labels.apply(runs, value);
    this.on.painted();
  }

  /** Take back what `preview` has shown. */
  restore() {
    if (!this.#unfinished) return;
    this.labels = new LabelMap(this.labels.height, this.labels.width, this.#unfinished);
    this.#unfinished = null;
    this.on.painted();
    if (this.#isOutdated) this.reload();
  }

  edit(value, runs) {
    this.#unfinished = null;
    this.labels.apply(runs, value);
    this.on.painted();
    this.ask("edit", { value, runs });
  }

  /** Undo, redo, or accept a suggestion: only the server knows what they change. */
  ask(kind, details = {}) {
    const operation = { kind, image: this.image, ...details };
    this.on.asked(operation);
    if (kind === "undo" && this.fills.undo(this.image)) return this.#dropFill(this.image);
    if (kind === "redo") this.fills.redo(this.image);
    if (details.runs) this.fills.painted(this.image, details.runs);
    this.#count(operation);
    this.on.steps();
    this.queue.add(operation);
  }

  /** Fill the predicted region around a pixel. value: null for the predicted class, where there is no label. */
  fill(row, column, value) {
    const operation = { kind: "fill", image: this.image };
    this.on.asked(operation);
    this.#count(operation);
    this.on.steps();
    this.fills.add(this.image, row, column, value);
    this.on.queue();
  }

  /** How much of what was done the server does not have yet. */
  get waiting() {
    return this.queue.length + this.fills.length;
  }

  follow() {
    if (this.image !== null) this.feed.follow(this.image, this.view);
  }

  #fillRegion({ image, value }, predicted, runs) {
    if (!runs.length) return this.#dropFill(image);
    const operation = { kind: value === null ? "fill" : "edit", image, value: value ?? predicted, runs };
    if (image === this.image) {
      this.#isOutdated = true; // the labels before the stroke that may be painted at the moment
      if (operation.kind === "edit") this.labels.apply(runs, value);
      this.on.painted();
    }
    this.queue.add(operation);
  }

  #dropFill(image) {
    if (image === this.image) this.undo -= 1;
    this.on.steps();
    this.on.queue();
  }

  #answered(image, answer, operation) {
    this.on.found("edits");
    this.on.labelled(image, answer.labelled);
    if (image !== this.image) return;
    for (const { value, runs } of answer.changes ?? []) this.labels.apply(runs, value);
    this.#isOutdated ||= answer.changes?.length > 0;
    this.#repaint();
    this.#setSteps(answer);
    this.on.answered(answer, operation);
  }

  #reloaded(image, labels) {
    if (image !== this.image) return;
    if (!this.queue.isFresh(image, labels)) return this.reload(image); // an answer has come since it was asked for
    const { height, width, values, undo, redo } = labels;
    this.labels = new LabelMap(height, width, values);
    this.#isOutdated = true;
    this.#setSteps({ undo, redo });
    this.#repaint();
  }

  /** How many steps can be undone and redone, once the server has done what is on its way. */
  #setSteps({ undo, redo }) {
    Object.assign(this, { undo, redo });
    for (const operation of this.queue.pending(this.image)) this.#count(operation);
    for (let fills = this.fills.count(this.image); fills > 0; fills--) this.#count({ kind: "fill" });
    this.on.steps();
  }

  #count({ kind }) {
    this.undo += kind === "undo" ? -1 : 1;
    if (kind === "undo") this.redo += 1;
    else this.redo = kind === "redo" ? this.redo - 1 : 0;
  }

  // What the server does not know yet lies on top of what it says.
  #repaint() {
    for (const { kind, value, runs } of this.queue.pending(this.image)) {
      if (kind === "edit") this.labels.apply(runs, value);
    }
    this.on.painted();
  }
}
