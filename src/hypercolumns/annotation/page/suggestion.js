// The region where a label would teach most: shown with an outline, and accepted with one key.

import * as api from "./api.js";
import { css } from "./colors.js";
import { outline } from "./screen.js";
import { sureness } from "./words.js";

const get = (id) => document.getElementById(id);

export class Suggestion {
  #asking = 0;

  /** workspace: where it is shown; open(image): opens an image, returns whether it did. on: {failed, said, ready, region}. */
  constructor(workspace, open, on) {
    Object.assign(this, { workspace, open, on, current: null, isAwaited: false, isContinued: false, other: null });
  }

  setClasses(classes) {
    this.classes = classes;
  }

  /** Ask for a suggestion and go there. */
  async show() {
    const number = ++this.#asking;
    try {
      const found = await api.suggestion();
      if (number !== this.#asking) return; // asked again, or dismissed
      this.isAwaited = found.image === null;
      if (this.isAwaited) return this.on.said(found.reason);
      this.on.ready();
      if (found.image !== this.workspace.image && !(await this.open(found.image))) return;
      if (number !== this.#asking) return;
      this.current = found;
      this.#present();
    } catch (error) {
      this.on.failed(error);
    }
  }

  /** To be called when the state of the session has changed: there may be a suggestion now. */
  stateChanged() {
    if (this.isAwaited) this.show();
  }

  /** Label the region with its predicted class, or with another one, and go on to the next. */
  accept(value = this.current?.value) {
    if (!this.current || this.current.image !== this.workspace.image) return false;
    const { runs } = this.current;
    this.dismiss();
    this.workspace.ask("accept", { value, runs });
    this.isContinued = true; // once the server knows this answer, its next suggestion is another one
    return true;
  }

  /** To be called when labels are to change: the region may hold other labels now, which it must not paint over. */
  labelsChange({ kind }) {
    if (kind !== "accept") this.dismiss(); // and who paints on does not want to be led away
  }

  /** To be called when the server has answered an edit. */
  answered(operation) {
    if (operation.kind !== "accept" || !this.isContinued) return;
    this.isContinued = false;
    this.show();
  }

  /** Say whether there was one. */
  dismiss() {
    const had = this.current !== null;
    this.#asking += 1;
    if (this.isAwaited) this.on.ready();
    this.isAwaited = this.isContinued = false;
    this.current = null;
    get("suggestion").hidden = true;
    this.on.region(null);
    return had;
  }

  /** Show which class `acceptAs` would give. */
  showOther(value, name) {
    this.other = value;
    get("suggestion-other").textContent = `As ${name}`;
    document.querySelector("[data-do=acceptAs]").disabled = value === this.current?.value;
  }

  #present() {
    const { value, runs, box, margin } = this.current;
    const { name, color } = this.classes[value];
    this.workspace.view.showBox(box);
    this.on.region(outline(runs, this.workspace.labels.width));
    get("suggestion").hidden = false;
    document.querySelector("[data-do=acceptAs]").disabled = value === this.other;
    get("suggestion").querySelector(".swatch").style.background = css(color);
    get("suggestion-text").textContent = `Is this ${name}? The model is ${sureness(margin)}.`;
  }
}
