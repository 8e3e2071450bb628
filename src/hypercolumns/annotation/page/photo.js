// The image itself, with smaller versions of it for a view from afar, and the images that were open last.

import * as api from "./api.js";

const MANY_PIXELS = 2_000_000; // below this, one drawing of the whole image takes less than a frame
const KEPT_PIXELS = 64_000_000;

async function decode(blob) {
  // Without conversion of colours or alpha: the page shows the values that the model sees.
  try {
    return new Photo(await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }));
  } catch {
    throw new Error("this browser can't show the file; the file may be damaged");
  }
}

class Photo {
  constructor(whole) {
    this.levels = [whole];
    this.height = whole.height;
    this.width = whole.width;
    this.ready = this.#halve();
  }

  async #halve() {
    for (let last = this.levels[0]; last.width * last.height > MANY_PIXELS; last = this.levels.at(-1)) {
      const resizeWidth = Math.ceil(last.width / 2);
      const resizeHeight = Math.ceil(last.height / 2);
      this.levels.push(await createImageBitmap(last, { resizeWidth, resizeHeight, resizeQuality: "medium" }));
    }
  }

  /** Draw the visible part on a context whose unit is the CSS pixel. */
  draw(context, view, pixelRatio) {
    const [top, left, bottom, right] = view.visibleBox();
    if (right <= left || bottom <= top) return;
    const wanted = Math.max(0, Math.floor(Math.log2(1 / (view.scale * pixelRatio))));
    const level = this.levels[Math.min(wanted, this.levels.length - 1)];
    const across = level.width / this.width;
    const down = level.height / this.height;
    const [x, y] = view.toScreen(left, top);
    context.imageSmoothingEnabled = view.scale < 2; // crisp pixels when zoomed in
    context.imageSmoothingQuality = "medium";
    context.drawImage(
      level,
      left * across, top * down, (right - left) * across, (bottom - top) * down,
      x, y, (right - left) * view.scale, (bottom - top) * view.scale,
    );
  }

  close() {
    this.levels.forEach((level) => level.close());
  }
}

/** Loads photos and keeps those that were open last. */
export class PhotoStore {
  #photos = new Map(); // from the oldest to the newest

  async load(image, signal) {
    const kept = this.#photos.get(image);
    const photo = kept ?? (await decode(await api.pixels(image, signal)));
    this.#photos.delete(image);
    this.#photos.set(image, photo);
    this.#forget(image);
    return photo;
  }

  #forget(open) {
    const pixels = (photo) => photo.width * photo.height;
    let total = [...this.#photos.values()].reduce((sum, photo) => sum + pixels(photo), 0);
    for (const [image, photo] of this.#photos) {
      if (total <= KEPT_PIXELS || image === open) return;
      total -= pixels(photo);
      this.#photos.delete(image);
      photo.ready.then(() => photo.close());
    }
  }
}
