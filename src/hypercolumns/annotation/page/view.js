// Zoom and position: which part of the image the canvas shows. Lengths on the screen are CSS pixels.

const MAX_SCALE = 48;
const BOX_ROOM = 4; // a box that is shown takes a quarter of the canvas at most
const MOST_OF_FIT = 2; // it is magnified twice as much as the whole image, so that half of the image stays visible
const OVERSCROLL = 48; // so that a stroke along the border of the image does not end at the border of the screen

export class View {
  /** scale: CSS pixels of a pixel of the image; left, top: the place in the image at the corner of the canvas. */
  constructor() {
    Object.assign(this, { scale: 1, left: 0, top: 0, width: 1, height: 1, imageWidth: 1, imageHeight: 1 });
  }

  setImage(height, width) {
    this.imageHeight = height;
    this.imageWidth = width;
    this.fit();
  }

  /** Change the size of the canvas. What lies at its centre stays there; a whole image stays whole. */
  resize(width, height) {
    const whole = Math.abs(this.scale - this.#fitScale()) < 1e-9;
    const [x, y] = this.toImage(this.width / 2, this.height / 2);
    this.width = width;
    this.height = height;
    if (whole) this.fit();
    else this.#centre(x, y);
  }

  fit() {
    this.scale = this.#fitScale();
    this.#centre(this.imageWidth / 2, this.imageHeight / 2);
  }

  /** Zoom so that the place under a point of the screen stays under it. */
  zoomAt(x, y, factor) {
    const [imageX, imageY] = this.toImage(x, y);
    const smallest = Math.min(1, this.#fitScale()) / 2;
    this.scale = Math.min(MAX_SCALE, Math.max(smallest, this.scale * factor));
    this.left = imageX - x / this.scale;
    this.top = imageY - y / this.scale;
    this.#clamp();
  }

  zoomTo(scale) {
    this.zoomAt(this.width / 2, this.height / 2, scale / this.scale);
  }

  panBy(dx, dy) {
    this.left -= dx / this.scale;
    this.top -= dy / this.scale;
    this.#clamp();
  }

  /** Show a box [top, left, bottom, right) with so much around it that one sees what it is a part of. */
  showBox([top, left, bottom, right]) {
    const room = Math.min(this.width / (right - left), this.height / (bottom - top)) / BOX_ROOM;
    const fit = this.#fitScale();
    this.scale = Math.max(fit, Math.min(room, Math.max(MOST_OF_FIT * fit, 1))); // a large image at most one to one
    this.#centre((left + right) / 2, (top + bottom) / 2);
  }

  /** Move as little as is needed to bring a place of the image onto the screen. */
  reveal(imageX, imageY) {
    const [x, y] = this.toScreen(imageX, imageY);
    const edge = 24;
    this.panBy(
      Math.max(0, edge - x) - Math.max(0, x - (this.width - edge)),
      Math.max(0, edge - y) - Math.max(0, y - (this.height - edge)),
    );
  }

  toImage(x, y) {
    return [this.left + x / this.scale, this.top + y / this.scale];
  }

  toScreen(imageX, imageY) {
    return [(imageX - this.left) * this.scale, (imageY - this.top) * this.scale];
  }

  /** The visible pixels of the image: [top, left, bottom, right). */
  visibleBox() {
    const [right, bottom] = this.toImage(this.width, this.height);
    return [
      Math.max(0, Math.floor(this.top)),
      Math.max(0, Math.floor(this.left)),
      Math.min(this.imageHeight, Math.ceil(bottom)),
      Math.min(this.imageWidth, Math.ceil(right)),
    ];
  }

  #fitScale() {
    return Math.min(MAX_SCALE, this.width / this.imageWidth, this.height / this.imageHeight);
  }

  #centre(imageX, imageY) {
    this.left = imageX - this.width / 2 / this.scale;
    this.top = imageY - this.height / 2 / this.scale;
    this.#clamp();
  }

  #clamp() {
    this.left = clampAxis(this.left, this.width / this.scale, this.imageWidth, OVERSCROLL / this.scale);
    this.top = clampAxis(this.top, this.height / this.scale, this.imageHeight, OVERSCROLL / this.scale);
  }
}

function clampAxis(start, shown, size, overscroll) {
  if (shown >= size) return (size - shown) / 2; // all of it is visible: centre it
  return Math.min(size - shown + overscroll, Math.max(-overscroll, start));
}
