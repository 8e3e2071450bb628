// Brush, eraser, polygon and fill: from presses and moves on the image to edits.

import { VOID } from "./labels.js";
import { recall, remember } from "./memory.js";
import { mergeRuns, polygonRuns, segmentRuns } from "./raster.js";
import { css } from "./colors.js";
import { strokeTwice } from "./screen.js";

export const TOOLS = ["brush", "eraser", "polygon", "fill"];
export const MAX_SIZE = 200;
const CLOSING_DISTANCE = 10; // CSS pixels: a press so near to the first corner closes the polygon

export class Tools {
  /** on: {preview(runs, value), restore(), edit(value, runs), fill(row, column, value), changed()}. */
  constructor(on) {
    Object.assign(this, { on, tool: "brush", size: 7, value: 0, classes: [], cursor: null, keyboard: null });
    this.stroke = null;
    this.corners = [];
    this.pressed = null; // what the end of the press will do
  }

  setImage(height, width) {
    this.height = height;
    this.width = width;
    this.stroke = this.pressed = null;
    this.corners = [];
    this.keyboard &&= [Math.floor(width / 2), Math.floor(height / 2)];
  }

  choose(tool) {
    this.cancel();
    this.#setTool(tool);
    this.on.changed();
  }

  #setTool(tool) {
    this.tool = tool;
    remember("tool", tool);
  }

  /** Take the tool and the size of the last visit; return whether there was a size. */
  recall() {
    const [tool, size] = [recall("tool"), recall("size")];
    if (TOOLS.includes(tool)) this.tool = tool;
    const hasSize = typeof size === "number" && size > 0;
    this.setSize(hasSize ? size : this.size);
    return hasSize;
  }

  /** Set the size as the user says, which is remembered. */
  chooseSize(size) {
    this.setSize(size);
    remember("size", this.size);
  }

  setSize(size) {
    this.size = Math.min(MAX_SIZE, Math.max(1, Math.round(size)));
    this.on.changed();
  }

  /** The next size up (1) or down (-1): by single pixels at first, then in larger steps. */
  stepSize(direction) {
    this.chooseSize(this.size + direction * Math.max(1, Math.floor(this.size / 5)));
  }

  setValue(value) {
    this.value = value;
    if (this.tool === "eraser") this.#setTool("brush"); // who chooses a class wants to paint
    this.on.changed();
  }

  /**
   * Begin at a place of the image. A stroke begins at once; a corner and a fill wait for `release`, because the press may
   * turn out to be the first finger of a pinch, and they could not be taken back without a trace. view: to compare with distances on the screen.
   * erases: as the second button of the mouse does. predicted: fill with the predicted class.
   */
  press([x, y], view, { erases = false, predicted = false } = {}) {
    const pixel = [Math.floor(x), Math.floor(y)];
    if (this.tool === "polygon") this.pressed = () => this.#addCorner([x, y], view);
    else if (this.tool === "fill") {
      const value = erases ? VOID : predicted ? null : this.value;
      this.pressed = () => this.#isInside(pixel) && this.on.fill(pixel[1], pixel[0], value);
    } else {
      this.stroke = { last: pixel, runs: [], value: erases || this.tool === "eraser" ? VOID : this.value };
      this.#extend(pixel);
    }
    this.on.changed();
  }

  move([x, y]) {
    this.cursor = [x, y];
    if (this.stroke) this.#extend([Math.floor(x), Math.floor(y)]);
  }

  /** End a press: a stroke becomes an edit, a corner is set, a region is filled. */
  release() {
    const { pressed } = this;
    this.pressed = null;
    pressed?.();
    if (!this.stroke) return;
    const { runs, value } = this.stroke;
    this.stroke = null;
    if (runs.length) this.on.edit(value, mergeRuns(runs));
    this.on.changed();
  }

  /** Close the polygon, or end the stroke. */
  finish() {
    this.release();
    if (this.corners.length >= 3) {
      const runs = mergeRuns(polygonRuns(this.corners, this.height, this.width));
      if (runs.length) this.on.edit(this.value, runs);
    }
    this.corners = [];
    this.on.changed();
  }

  /** Drop the stroke or the polygon that is not finished; say whether there was one. */
  cancel() {
    const busy = this.stroke !== null || this.corners.length > 0;
    this.corners = [];
    this.cancelPress();
    return busy;
  }

  /** Drop what the press has begun. The corners that were set before stay. */
  cancelPress() {
    if (this.stroke) this.on.restore();
    this.stroke = this.pressed = null;
    this.on.changed();
  }

  /** Take back the last corner of the polygon; say whether there was one. */
  removeCorner() {
    const had = this.corners.pop() !== undefined;
    this.on.changed();
    return had;
  }

  #extend(pixel) {
    const runs = segmentRuns(this.stroke.last, pixel, this.size, this.height, this.width);
    this.stroke.last = pixel;
    for (const number of runs) this.stroke.runs.push(number);
    this.on.preview(runs, this.stroke.value);
  }

  #addCorner([x, y], view) {
    const place = [Math.min(this.width, Math.max(0, x)), Math.min(this.height, Math.max(0, y))];
    if (this.corners.length >= 3) {
      const [firstX, firstY] = this.corners[0];
      if (Math.hypot(firstX - x, firstY - y) * view.scale <= CLOSING_DISTANCE) return this.finish();
    }
    this.corners.push(place);
  }

  #isInside([column, row]) {
    return column >= 0 && row >= 0 && column < this.width && row < this.height;
  }

  // ---- what the tools show on the screen

  draw(context, view) {
    if (this.corners.length) this.#drawPolygon(context, view);
    const place = this.keyboard ? [this.keyboard[0] + 0.5, this.keyboard[1] + 0.5] : this.cursor;
    if (!place) return;
    if (this.tool === "brush" || this.tool === "eraser") this.#drawBrush(context, view, place);
    if (this.keyboard) drawCross(context, view.toScreen(...place));
  }

  #drawBrush(context, view, [x, y]) {
    const shift = this.size % 2 ? 0.5 : 0; // the centre of an even disc lies between pixels
    const centre = view.toScreen(Math.floor(x) + shift, Math.floor(y) + shift);
    const radius = Math.max(1.5, (this.size / 2) * view.scale);
    const circle = new Path2D();
    circle.arc(...centre, radius, 0, 2 * Math.PI);
    const color = this.tool === "eraser" ? undefined : this.classes[this.value]?.color;
    strokeTwice(context, circle, color ? css(color) : "#000");
  }

  #drawPolygon(context, view) {
    const path = new Path2D();
    const ends = this.keyboard ? [this.keyboard[0] + 0.5, this.keyboard[1] + 0.5] : this.cursor;
    for (const corner of [...this.corners, ...(ends ? [ends] : [])]) path.lineTo(...view.toScreen(...corner));
    if (this.corners.length >= 2) path.closePath();
    const color = this.classes[this.value]?.color;
    strokeTwice(context, path, color ? css(color) : "#000");
    context.fillStyle = "#fff";
    context.strokeStyle = "#000";
    context.lineWidth = 1;
    for (const corner of this.corners) {
      const [x, y] = view.toScreen(...corner);
      context.fillRect(x - 3, y - 3, 6, 6);
      context.strokeRect(x - 3.5, y - 3.5, 7, 7);
    }
  }
}

function drawCross(context, [x, y]) {
  const path = new Path2D();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    path.moveTo(x + 4 * dx, y + 4 * dy);
    path.lineTo(x + 14 * dx, y + 14 * dy);
  }
  strokeTwice(context, path, "#000");
}
