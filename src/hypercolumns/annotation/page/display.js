// How the prediction and the labels are shown: the settings of the panel, and the scale of certainty.

import { drawScale } from "./colors.js";
import { recall, remember } from "./memory.js";
import { sureness } from "./words.js";

const MODES = ["classes", "margins", "off"];
const get = (id) => document.getElementById(id);

export class Display {
  /** onChange is called with the names of the overlays that look different now. */
  constructor(onChange) {
    Object.assign(this, { onChange, mode: "classes", opacity: 0.45, borders: true, labels: true, hidden: false });
    drawScale(get("scale"));
    get("opacity").addEventListener("input", (event) => this.set({ opacity: event.target.valueAsNumber / 100 }));
    for (const name of ["borders", "labels"]) {
      get(name).addEventListener("change", (event) => this.set({ [name]: event.target.checked }));
    }
    for (const radio of document.querySelectorAll("input[name=mode]")) {
      radio.addEventListener("change", () => this.set({ mode: radio.value }));
    }
    const opacity = recall("opacity");
    if (typeof opacity === "number") this.opacity = opacity;
    this.set({}); // a browser may restore the controls of an earlier visit
  }

  set(changes) {
    Object.assign(this, changes);
    this.opacity = Math.min(1, Math.max(0.05, this.opacity));
    if ("opacity" in changes) remember("opacity", this.opacity);
    get("opacity").value = Math.round(100 * this.opacity);
    get("opacity-value").textContent = `${Math.round(100 * this.opacity)} %`;
    get("borders").checked = this.borders;
    get("labels").checked = this.labels;
    document.querySelector(`input[name=mode][value=${this.mode}]`).checked = true;
    this.onChange("prediction", "labels");
  }

  nextMode() {
    this.set({ mode: MODES[(MODES.indexOf(this.mode) + 1) % MODES.length] });
  }

  /** Mark the mean margin (0 to 1) of what is visible on the scale; null for no prediction. */
  showMargin(margin) {
    get("scale-mark").hidden = margin === null;
    get("view-margin").textContent = margin === null ? "" : `this view: ${sureness(margin)}`;
    if (margin !== null) get("scale-mark").style.left = `${100 * margin}%`;
  }
}
