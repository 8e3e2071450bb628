// The canvas: photo, prediction, labels and what the tools show, put together once a frame at most.

import { classColors, lineColors, marginColors } from "./colors.js";
import { Overlay, paintLabels, paintPrediction } from "./overlay.js";

const ACCENT = "#2f7bff";

export class Screen {
  /** canvas: the element; view: what it shows; display: the settings of the panel; tools: what is being painted. */
  constructor(canvas, view, display, tools) {
    Object.assign(this, { canvas, view, display, tools });
    this.context = canvas.getContext("2d", { alpha: false });
    this.prediction = new Overlay();
    this.labels = new Overlay();
    this.photo = this.labelMap = this.grid = this.region = null;
    this.scheduled = false;
    this.onDrawn = () => {};
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
  }

  setClasses(classes) {
    this.classes = classes;
    this.redraw("prediction", "labels");
  }

  /** Draw again in the next frame. what: the overlays that have changed. */
  redraw(...what) {
    for (const name of what) {
      if (name === "view") this.prediction.stale = this.labels.stale = true;
      else if (name !== "tools") this[name].stale = true;
    }
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.#draw();
    });
  }

  #resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) return;
    this.pixelRatio = window.devicePixelRatio;
    this.canvas.width = Math.round(width * this.pixelRatio);
    this.canvas.height = Math.round(height * this.pixelRatio);
    this.view.resize(width, height);
    this.redraw("view");
    this.onResized?.();
  }

  #draw() {
    const { context, view } = this;
    context.setTransform(this.pixelRatio, 0, 0, this.pixelRatio, 0, 0);
    context.fillStyle = getComputedStyle(this.canvas).backgroundColor;
    context.fillRect(0, 0, view.width, view.height);
    if (!this.photo) return;
    this.photo.draw(context, view, this.pixelRatio);
    context.imageSmoothingEnabled = false;
    if (!this.display.hidden) {
      this.#drawPrediction();
      this.#drawLabels();
    }
    this.#drawRegion();
    this.tools.draw(context, view);
    this.onDrawn();
  }

  #drawPrediction() {
    const { mode, opacity, borders } = this.display;
    if (!this.grid || mode === "off") return;
    if (this.prediction.stale) {
      const lines = borders ? lineColors(this.classes) : null;
      const margins = mode === "margins" ? marginColors(opacity) : null;
      const paint = paintPrediction(classColors(this.classes, opacity), margins, lines);
      this.prediction.draw({ ...this.grid, values: this.grid.labels }, this.view, paint);
    }
    this.context.drawImage(this.prediction.canvas, 0, 0);
  }

  #drawLabels() {
    if (!this.display.labels) return;
    if (this.labels.stale) {
      const { step, ...level } = this.labelMap.level(this.view.scale);
      const middle = (step - 1) / 2; // the place of a level's first cell among the pixels of the image
      const map = { ...level, top: middle, left: middle, rowStep: step, columnStep: step };
      this.labels.draw(map, this.view, paintLabels(classColors(this.classes, 0.7)));
    }
    this.context.drawImage(this.labels.canvas, 0, 0);
  }

  /** Outline the suggested region: two lines, so that it shows on photos of every colour. */
  #drawRegion() {
    if (!this.region) return;
    const { context, view } = this;
    const path = new Path2D();
    for (const [x1, y1, x2, y2] of this.region) {
      path.moveTo(...view.toScreen(x1, y1));
      path.lineTo(...view.toScreen(x2, y2));
    }
    strokeTwice(context, path, ACCENT);
  }
}

/** A line with a white seam, which shows on every ground. */
export function strokeTwice(context, path, color) {
  context.lineCap = "round";
  context.strokeStyle = "#fff";
  context.lineWidth = 4;
  context.stroke(path);
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.stroke(path);
}

/** The sides between the pixels of some runs and the other pixels: [x1, y1, x2, y2] in the image, merged in rows. */
export function outline(runs, width) {
  const rows = new Map();
  for (let index = 0; index < runs.length; index += 2) {
    for (let at = runs[index], end = at + runs[index + 1]; at < end; ) {
      const row = Math.floor(at / width);
      const stop = Math.min(end, (row + 1) * width);
      if (!rows.has(row)) rows.set(row, []);
      rows.get(row).push([at - row * width, stop - row * width]);
      at = stop;
    }
  }
  const sides = [];
  for (const [row, intervals] of rows) {
    for (const [from, to] of intervals) sides.push([from, row, from, row + 1], [to, row, to, row + 1]);
    for (const [other, y] of [[rows.get(row - 1), row], [rows.get(row + 1), row + 1]]) {
      for (const [from, to] of without(intervals, other ?? [])) sides.push([from, y, to, y]);
    }
  }
  return sides;
}

function without(intervals, others) {
  let left = intervals;
  for (const [from, to] of others) {
    left = left.flatMap(([start, end]) =>
      to <= start || from >= end ? [[start, end]] : [[start, from], [to, end]].filter(([a, b]) => a < b));
  }
  return left;
}
