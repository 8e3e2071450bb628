// The labels of the open image, and smaller versions of them for a view from afar.

export const VOID = 255;
const SMALLEST_SIDE = 256;

export class LabelMap {
  /** values: (height x width) classes, 255 where there is no label. */
  constructor(height, width, values) {
    this.height = height;
    this.width = width;
    this.levels = [{ height, width, values }];
    for (let last = this.levels[0]; Math.max(last.height, last.width) > SMALLEST_SIDE; last = this.levels.at(-1)) {
      const half = { height: (last.height + 1) >> 1, width: (last.width + 1) >> 1 };
      this.levels.push({ ...half, values: new Uint8Array(half.height * half.width) });
    }
    this.#shrink(0, 0, height, width);
  }

  get values() {
    return this.levels[0].values;
  }

  at(row, column) {
    return this.values[row * this.width + column];
  }

  /** Label the pixels of some runs. */
  apply(runs, value) {
    let top = this.height, left = this.width, bottom = 0, right = 0;
    for (let index = 0; index < runs.length; index += 2) {
      const end = runs[index] + runs[index + 1];
      this.values.fill(value, runs[index], end);
      const first = Math.floor(runs[index] / this.width);
      const last = Math.floor((end - 1) / this.width);
      top = Math.min(top, first);
      bottom = Math.max(bottom, last + 1);
      left = first === last ? Math.min(left, runs[index] % this.width) : 0;
      right = first === last ? Math.max(right, ((end - 1) % this.width) + 1) : this.width;
    }
    if (top < bottom) this.#shrink(top, left, bottom, right);
  }

  /** The level whose pixels are at most as large as those of the screen. */
  level(scale) {
    const wanted = Math.floor(Math.log2(1 / scale));
    const index = Math.max(0, Math.min(this.levels.length - 1, wanted));
    return { ...this.levels[index], step: 2 ** index };
  }

  // A cell of a level is labelled where one of its four pixels is, so that thin strokes stay visible from afar.
  #shrink(top, left, bottom, right) {
    for (let index = 1; index < this.levels.length; index++) {
      const from = this.levels[index - 1];
      const to = this.levels[index];
      top >>= 1; left >>= 1;
      bottom = (bottom + 1) >> 1; right = (right + 1) >> 1;
      for (let row = top; row < bottom; row++) {
        const upper = 2 * row * from.width;
        const lower = Math.min(2 * row + 1, from.height - 1) * from.width;
        for (let column = left; column < right; column++) {
          const a = 2 * column;
          const b = Math.min(a + 1, from.width - 1);
          let value = from.values[upper + a];
          if (value === VOID) value = from.values[upper + b];
          if (value === VOID) value = from.values[lower + a];
          if (value === VOID) value = from.values[lower + b];
          to.values[row * to.width + column] = value;
        }
      }
    }
  }
}
