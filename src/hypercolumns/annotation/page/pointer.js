// Mouse, pen and fingers on the canvas: paint, pan, zoom.

const WHEEL_RATE = 0.0016; // of the logarithm of the scale, per pixel of scrolling
const PINCH_RATE = 0.01; // browsers send a pinch on a touchpad as a wheel with the control key
const LINE = 16; // pixels that a wheel scrolls which counts in lines

export class Pointer {
  #fingers = new Map();
  #panning = null; // the pointer that drags the image, and where it was last
  spaceHeld = false;

  /** on: {viewChanged(), toolsChanged(), moved()}. */
  constructor(canvas, view, tools, on) {
    Object.assign(this, { canvas, view, tools, on });
    const listen = (name, handle, options) => canvas.addEventListener(name, (event) => this.isReady && handle(event), options);
    this.isReady = false;
    listen("pointerdown", (event) => this.#down(event));
    listen("pointermove", (event) => this.#move(event));
    listen("pointerup", (event) => this.#up(event));
    listen("pointercancel", (event) => this.#up(event));
    listen("pointerleave", () => this.#leave());
    listen("wheel", (event) => this.#wheel(event), { passive: false });
    listen("dblclick", () => tools.tool === "polygon" && tools.finish());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** Take nothing of the canvas until `isReady` is set again. */
  stop() {
    this.isReady = false;
    this.#fingers.clear();
    this.#panning = null; // the end of a drag is not heard of
  }

  setSpace(held) {
    this.spaceHeld = held;
    this.#showCursor();
  }

  #screen(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #image(event) {
    return this.view.toImage(...this.#screen(event));
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.tools.keyboard = null; // the mouse takes over from the arrow keys
    if (event.pointerType === "touch") {
      this.#fingers.set(event.pointerId, this.#screen(event));
      if (this.#fingers.size === 2) this.tools.cancelPress(); // the first finger of a pinch is no stroke
      if (this.#fingers.size >= 2) return;
    }
    if (event.button === 1 || (event.button === 0 && this.spaceHeld)) {
      this.#panning = { id: event.pointerId, at: this.#screen(event) };
      event.preventDefault(); // the middle button would scroll
    } else if (event.button === 0 || event.button === 2) {
      this.tools.press(this.#image(event), this.view, { erases: event.button === 2, predicted: event.shiftKey });
    }
    this.#showCursor();
    this.on.toolsChanged();
  }

  #move(event) {
    if (this.#fingers.size >= 2 && this.#fingers.has(event.pointerId)) return this.#pinch(event);
    if (this.#panning?.id === event.pointerId) {
      const [x, y] = this.#screen(event);
      this.view.panBy(x - this.#panning.at[0], y - this.#panning.at[1]);
      this.#panning.at = [x, y];
      this.on.viewChanged();
    } else {
      // A quick stroke has several places between two frames.
      const places = event.getCoalescedEvents?.() ?? [];
      for (const place of places.length ? places : [event]) this.tools.move(this.#image(place));
    }
    this.on.moved();
    this.on.toolsChanged();
  }

  #pinch(event) {
    const [first, second] = [...this.#fingers.keys()];
    const other = this.#fingers.get(event.pointerId === first ? second : first);
    const before = this.#fingers.get(event.pointerId);
    const now = this.#screen(event);
    const distance = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
    const middle = ([x, y]) => [(x + other[0]) / 2, (y + other[1]) / 2];
    this.view.panBy(middle(now)[0] - middle(before)[0], middle(now)[1] - middle(before)[1]);
    this.view.zoomAt(...middle(now), distance(now) / distance(before));
    this.#fingers.set(event.pointerId, now);
    this.on.viewChanged();
  }

  #up(event) {
    const pinched = this.#fingers.size >= 2;
    this.#fingers.delete(event.pointerId);
    if (this.#panning?.id === event.pointerId) this.#panning = null;
    else if (pinched) return;
    else if (event.type === "pointercancel") this.tools.cancelPress();
    else this.tools.release();
    this.#showCursor();
  }

  #leave() {
    if (this.tools.stroke) return;
    this.tools.cursor = null;
    this.on.moved();
    this.on.toolsChanged();
  }

  #wheel(event) {
    event.preventDefault();
    const scrolled = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? LINE : 1);
    if (event.shiftKey && !event.ctrlKey) return this.tools.stepSize(-Math.sign(scrolled));
    const rate = event.ctrlKey ? PINCH_RATE : WHEEL_RATE;
    this.view.zoomAt(...this.#screen(event), Math.exp(-rate * scrolled));
    this.on.viewChanged();
  }

  #showCursor() {
    const paints = this.tools.tool === "brush" || this.tools.tool === "eraser";
    this.canvas.dataset.cursor = this.spaceHeld || this.#panning ? "grab" : paints ? "none" : "cross";
  }

  toolsChanged() {
    this.#showCursor();
  }
}
