// What the server tells by itself: the prediction of what is on the screen, and the state of the session.
// Both ask with the version that they know, and the server answers when there is a newer one.

import * as api from "./api.js";

const SETTLING = 70; // milliseconds without a change of the view before its prediction is asked for
const PAUSE = 1000; // after a failure

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Wait until the page can be seen. */
async function untilVisible() {
  while (document.visibilityState === "hidden") {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

/** A controller whose signal tells when the page is hidden. To be aborted when it is no longer needed. */
function untilHidden() {
  const hidden = new AbortController();
  document.addEventListener("visibilitychange", () => hidden.abort(), { signal: hidden.signal });
  return hidden;
}

/**
 * Ask again and again until stopped, while the page can be seen: the server shall not predict for pages in the
 * background. ask(version, signal) returns the next version, or undefined to keep it.
 */
class Poll {
  constructor(ask, on) {
    this.controller = new AbortController();
    this.#run(ask, on);
  }

  stop() {
    this.controller.abort();
  }

  async #run(ask, on) {
    const { signal } = this.controller;
    for (let version = -1; !signal.aborted; ) {
      await untilVisible();
      const hidden = untilHidden();
      try {
        version = (await ask(version, AbortSignal.any([signal, hidden.signal]))) ?? version;
        on.found();
      } catch (error) {
        if (signal.aborted) return;
        if (hidden.signal.aborted) {
          version = -1; // meanwhile the server may have been started again, which a hidden page does not notice
          continue;
        }
        if (error instanceof api.RefusedError) return on.refused(error); // it would be refused again
        if (!(error instanceof api.ConnectionError)) throw error;
        version = -1; // a server that was started again counts from the beginning
        on.lost(error);
        await sleep(PAUSE);
      } finally {
        hidden.abort();
      }
    }
  }
}

export class PredictionFeed {
  /** on: {grid(image, grid), found(), lost(error), refused(error)}. */
  constructor(on) {
    this.on = on;
  }

  /** Follow the prediction of what the view shows. */
  follow(image, view) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#start(image, view), SETTLING);
  }

  stop() {
    clearTimeout(this.timer);
    this.poll?.stop();
    this.poll = null;
    this.wanted = null;
  }

  #start(image, view) {
    const box = view.visibleBox();
    const [top, left, bottom, right] = box;
    if (bottom <= top || right <= left) return;
    const height = Math.max(1, Math.min(bottom - top, Math.ceil((bottom - top) * view.scale)));
    const width = Math.max(1, Math.min(right - left, Math.ceil((right - left) * view.scale)));
    const wanted = JSON.stringify([image, box, height, width]);
    if (wanted === this.wanted) return; // the view has come back to where it was
    this.stop();
    this.wanted = wanted;
    this.poll = new Poll(async (version, signal) => {
      const grid = await api.prediction(image, box, height, width, version, signal);
      if (grid && !signal.aborted) this.on.grid(image, grid);
      return grid?.version;
    }, this.on);
  }
}

/** Follow the state of the session. on: {state(state), found(), lost(error), refused(error)}. */
export function followState(on) {
  return new Poll(async (version, signal) => {
    const state = await api.state(version, signal);
    if (!state) return version;
    on.state(state);
    return state.version;
  }, on);
}
