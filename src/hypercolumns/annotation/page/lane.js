// Operations that are sent one batch after the other, each of them again and again until it is answered.

import * as api from "./api.js";

const FIRST_WAIT = 500; // milliseconds, doubled after each failure
const LONGEST_WAIT = 4000;

export class Lane {
  waiting = []; // {kind, image, ...}: the first of them may be on their way
  #isRunning = false;
  #wake = () => {};

  /**
   * does: {next(), send(batch), lost(error), changed()}. `next` returns the batch to send, [] if there is none. `send`
   * returns {settled, tell}: how many of the batch can leave, and what to call then.
   */
  constructor(does) {
    this.does = does;
  }

  add(operation) {
    this.waiting.push(operation);
    if (!this.#isRunning) this.#run();
  }

  /** Do not wait any longer for the next try. */
  retryNow() {
    this.#wake();
  }

  async #run() {
    this.#isRunning = true;
    let wait = FIRST_WAIT;
    for (let batch; (batch = this.does.next()).length; ) {
      try {
        this.#leave(await this.does.send(batch));
        wait = FIRST_WAIT;
      } catch (error) {
        if (!(error instanceof api.ConnectionError)) throw error;
        this.does.lost(error);
        await this.#pause(wait);
        wait = Math.min(LONGEST_WAIT, 2 * wait);
      }
    }
    this.#isRunning = false;
  }

  #leave({ settled, tell }) {
    this.waiting.splice(0, settled);
    tell?.();
    this.does.changed();
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, milliseconds);
    });
  }
}
