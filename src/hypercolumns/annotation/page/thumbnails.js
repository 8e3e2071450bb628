// Thumbnails of the rows that can be seen: one request at a time, because a browser has few connections to a server, and
// strokes need one.

const MARGIN = "300px"; // rows so near to the visible ones are loaded too

export class Thumbnails {
  #wanted = new Set();
  #failed = new Set();
  #isRunning = false;

  /** list: the element that scrolls. */
  constructor(list) {
    this.observer = new IntersectionObserver((entries) => this.#see(entries), { root: list, rootMargin: MARGIN });
  }

  /** An element that shows the thumbnail of an image once it can be seen. */
  make(number) {
    const picture = document.createElement("img");
    picture.alt = "";
    picture.dataset.number = number;
    this.observer.observe(picture);
    return picture;
  }

  /** Ask again for those that failed, once they can be seen. */
  retry() {
    for (const picture of this.#failed) this.observer.observe(picture);
    this.#failed.clear();
  }

  #see(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#wanted.add(target);
      else this.#wanted.delete(target);
    }
    if (!this.#isRunning) this.#run();
  }

  async #run() {
    this.#isRunning = true;
    for (let picture; ([picture] = this.#wanted) && picture; ) {
      this.#wanted.delete(picture);
      this.observer.unobserve(picture);
      const url = new URL(`api/images/${picture.dataset.number}/thumbnail`, document.baseURI);
      if (!(await load(picture, url))) this.#failed.add(picture);
    }
    this.#isRunning = false;
  }
}

/** Load a picture; returns whether it could be loaded. */
function load(picture, url) {
  return new Promise((resolve) => {
    picture.onload = () => resolve(true);
    picture.onerror = () => resolve(false);
    picture.src = url;
  });
}
