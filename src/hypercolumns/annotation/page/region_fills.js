// Fills of predicted regions. The server is asked for the region, which may take a while, and the region becomes an edit
// when it is there. What is painted in the meantime stays on top of it: a later stroke is a correction.

import * as api from "./api.js";
import { mergeRuns, subtractRuns } from "./raster.js";

const PAUSE = 1000; // milliseconds, after a failure

export class RegionFills {
  #waiting = []; // {image, row, column, value, later, undone, leaving}; later: the runs of each edit since
  #isRunning = false;

  /**
   * on: {region(fill, predicted, runs), failed(fill, error), found(), lost(error)}; region: the class and the pixels
   * that are to be labelled.
   */
  constructor(on) {
    this.on = on;
  }

  get length() {
    return this.#waiting.length;
  }

  /** How many fills of an image wait. */
  count(image) {
    return this.#of(image).length;
  }

  /** Fill the region around a pixel. value: the label, or null for the predicted class where there is no label. */
  add(image, row, column, value) {
    this.#waiting.push({ image, row, column, value, later: [], undone: [], leaving: new AbortController() });
    if (!this.#isRunning) this.#run();
  }

  /** Note that pixels of an image were labelled after the fills that wait. */
  painted(image, runs) {
    for (const fill of this.#of(image)) {
      fill.later.push(runs);
      fill.undone = [];
    }
  }

  /** Note an undo. Returns whether it means a fill that waits, which is then dropped. */
  undo(image) {
    const last = this.#of(image).at(-1);
    if (last && !last.later.length) {
      this.#waiting.splice(this.#waiting.indexOf(last), 1);
      last.leaving.abort();
      return true;
    }
    for (const fill of this.#of(image)) if (fill.later.length) fill.undone.push(fill.later.pop());
    return false;
  }

  redo(image) {
    for (const fill of this.#of(image)) if (fill.undone.length) fill.later.push(fill.undone.pop());
  }

  #of(image) {
    return this.#waiting.filter((fill) => fill.image === image);
  }

  /** One after the other, in the order of the user. */
  async #run() {
    this.#isRunning = true;
    while (this.#waiting.length) {
      const [fill] = this.#waiting;
      try {
        const region = await api.region(fill.image, fill.row, fill.column, fill.leaving.signal);
        this.on.found();
        if (region) this.#settle(fill, () => this.#tell(fill, region));
      } catch (error) {
        if (error instanceof api.ConnectionError) {
          this.on.lost(error);
          await new Promise((resolve) => setTimeout(resolve, PAUSE));
        } else this.#settle(fill, () => this.on.failed(fill, error));
      }
    }
    this.#isRunning = false;
    this.on.found(); // also if what was lost has been dropped
  }

  /** Take a fill from the list, and tell what came of it, unless it was dropped before. */
  #settle(fill, tell) {
    const place = this.#waiting.indexOf(fill);
    if (place < 0) return;
    this.#waiting.splice(place, 1);
    tell();
  }

  #tell(fill, { value, runs }) {
    this.on.region(fill, value, subtractRuns(runs, mergeRuns(fill.later.flat())));
  }
}
