// From maps of values (labels, predictions) to pictures of the size of the screen. Only what is visible is drawn, so
// that the cost depends on the screen, not on the image; and outlines are one pixel of the screen wide at each zoom.

const NOTHING = 255;
const WHITE = 0xffffffff;
const BLACK = 0xff000000;

/** Which index of an evenly spaced axis each pixel of the screen shows; -1 outside of it. */
function lookup(shown, start, scale, { first, step, count, size }) {
  const indices = new Int32Array(shown);
  const from = Math.max(0, first - step / 2);
  const to = Math.min(size, first + (count - 1) * step + 1 + step / 2);
  for (let screen = 0; screen < shown; screen++) {
    const place = start + (screen + 0.5) / scale;
    const index = Math.round((place - 0.5 - first) / step);
    indices[screen] = place < from || place >= to ? -1 : Math.min(count - 1, Math.max(0, index));
  }
  return indices;
}

/** A picture of a map over the canvas, drawn again when the map, the view or the style has changed. */
export class Overlay {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.stale = true;
  }

  /** Draw a map {values, margins, height, width, top, left, rowStep, columnStep} with `paint`. */
  draw(map, view, paint) {
    this.#resize(Math.ceil(view.width), Math.ceil(view.height));
    const { width, height } = this.canvas;
    const columns = lookup(width, view.left, view.scale,
      { first: map.left, step: map.columnStep, count: map.width, size: view.imageWidth });
    const rows = lookup(height, view.top, view.scale,
      { first: map.top, step: map.rowStep, count: map.height, size: view.imageHeight });
    const classes = this.#sample(map.values, map.width, rows, columns, this.classes);
    const margins = map.margins && this.#sample(map.margins, map.width, rows, columns, this.margins);
    paint(this.pixels, classes, margins, width, height);
    this.context.putImageData(this.picture, 0, 0);
    this.stale = false;
  }

  #resize(width, height) {
    if (this.picture && this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.picture = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.picture.data.buffer);
    this.classes = new Uint8Array(width * height);
    this.margins = new Uint8Array(width * height);
  }

  #sample(values, stride, rows, columns, into) {
    const width = columns.length;
    for (let y = 0, target = 0; y < rows.length; y++, target += width) {
      if (rows[y] < 0) into.fill(NOTHING, target, target + width);
      else if (y && rows[y] === rows[y - 1]) into.copyWithin(target, target - width, target); // zoomed in
      else {
        const source = rows[y] * stride;
        for (let x = 0; x < width; x++) into[target + x] = columns[x] < 0 ? NOTHING : values[source + columns[x]];
      }
    }
    return into;
  }
}

/**
 * Paint a prediction: by the margins where `marginTable` is given, else by the classes.
 * borders: the colours of lines where two classes meet, or null for none.
 */
export function paintPrediction(classTable, marginTable, borders) {
  return (pixels, classes, margins, width, height) => {
    for (let y = 0, index = 0; y < height; y++) {
      for (let x = 0; x < width; x++, index++) {
        const value = classes[index];
        const isBorder = borders !== null &&
          ((x > 0 && value !== classes[index - 1]) || (y > 0 && value !== classes[index - width]));
        if (value === NOTHING) pixels[index] = 0;
        else if (isBorder) pixels[index] = borders[value];
        else pixels[index] = marginTable ? marginTable[margins[index]] : classTable[value];
      }
    }
  };
}

/** Paint labels with a white line inside and a black line outside, which show on photos of every colour. */
export function paintLabels(colors) {
  return (pixels, classes, _, width, height) => {
    pixels.fill(0);
    for (let y = 0, index = 0; y < height; y++) {
      for (let x = 0; x < width; x++, index++) {
        const value = classes[index];
        if (value === NOTHING) continue;
        const left = x ? classes[index - 1] : value;
        const right = x + 1 < width ? classes[index + 1] : value;
        const up = y ? classes[index - width] : value;
        const down = y + 1 < height ? classes[index + width] : value;
        const isEdge = left !== value || right !== value || up !== value || down !== value;
        pixels[index] = isEdge ? WHITE : colors[value];
        if (!isEdge) continue;
        if (left === NOTHING) pixels[index - 1] = BLACK;
        if (up === NOTHING) pixels[index - width] = BLACK;
        if (right === NOTHING) pixels[index + 1] = BLACK;
        if (down === NOTHING) pixels[index + width] = BLACK;
      }
    }
  };
}
