// The list of images: what is labelled in each, and how sure the model is of it.

import { css } from "./colors.js";

const COUNT = new Intl.NumberFormat("en");
const sum = (counts) => counts.reduce((total, count) => total + count, 0);

export class ImageList {
  #rows = new Map(); // by number: {item, row, bar, sure}
  #byNumber = new Map(); // the images

  constructor(onOpen) {
    this.list = document.getElementById("image-list");
    this.filter = document.getElementById("image-filter");
    this.order = document.getElementById("image-order");
    this.count = document.getElementById("image-count");
    this.images = [];
    this.current = null;
    this.filter.addEventListener("input", () => this.arrange());
    this.order.addEventListener("change", () => this.arrange());
    this.list.addEventListener("click", (event) => {
      const row = event.target.closest("button");
      if (row) onOpen(Number(row.dataset.number));
    });
    this.list.addEventListener("keydown", (event) => this.#walk(event));
  }

  setSession({ images, classes }) {
    this.classes = classes;
    this.images = images.map((image) => ({ ...image }));
    this.#byNumber = new Map(this.images.map((image) => [image.number, image]));
    for (const image of this.images) {
      if (!this.#rows.has(image.number)) this.#rows.set(image.number, makeRow(image));
      this.#show(image);
    }
    this.arrange();
  }

  get(number) {
    return this.#byNumber.get(number);
  }

  /**
   * Take what has changed of some images: [{number, ...}]. The order stays until it is asked for, so that no row moves
   * away.
   */
  update(changed) {
    for (const { number, ...changes } of changed) {
      const image = this.get(number);
      if (!image || !differs(image, changes)) continue; // the server tells of all images each time
      Object.assign(image, changes);
      this.#show(image);
    }
    this.#showCount();
  }

  setCurrent(number) {
    this.#rows.get(this.current)?.row.removeAttribute("aria-current");
    this.current = number;
    const row = this.#rows.get(number)?.row;
    row?.setAttribute("aria-current", "true");
    row?.scrollIntoView({ block: "nearest" });
  }

  /** The number of the image some rows further on, or null at the end of the list. */
  neighbour(distance) {
    const shown = this.#shown();
    const place = shown.findIndex(({ number }) => number === this.current);
    return shown[place + distance]?.number ?? null;
  }

  place() {
    return [this.#shown().findIndex(({ number }) => number === this.current) + 1, this.#shown().length];
  }

  /** Pixels of each class over all images. */
  labelled() {
    const totals = this.classes.map(() => 0);
    for (const { labelled } of this.images) labelled?.forEach((count, index) => (totals[index] += count));
    return totals;
  }

  arrange() {
    this.list.replaceChildren(...this.#shown().map(({ number }) => this.#rows.get(number).item));
    this.#showCount();
    if (this.current !== null) this.setCurrent(this.current);
  }

  #shown() {
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = this.images.filter(({ name }) => name.toLowerCase().includes(wanted));
    // An image without a margin was not looked at yet; it comes after those of which the model is known to be unsure.
    if (this.order.value === "margin") shown.sort((a, b) => (a.margin ?? 2) - (b.margin ?? 2));
    return shown;
  }

  #showCount() {
    const labelled = this.images.filter((image) => sum(image.labelled ?? []) > 0).length;
    this.count.textContent = `${labelled} of ${this.images.length} labelled`;
  }

  #show({ number, labelled, margin, name, problem }) {
    const { row, bar, sure } = this.#rows.get(number);
    const total = sum(labelled ?? []);
    bar.style.background = total ? stripes(labelled, total, this.classes) : "";
    if (problem) sure.textContent = "unreadable";
    else sure.textContent = margin === null || margin === undefined ? "" : `sure ${margin.toFixed(2)}`;
    const parts = this.classes.filter((_, index) => labelled?.[index]).map((one) => one.name);
    const labels = total ? `${COUNT.format(total)} pixels labelled (${parts.join(", ")})` : "no labels";
    row.title = `${name}: ${problem || labels}`;
  }

  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation(); // the arrow keys would pan the image
    const items = [...this.list.children];
    const place = items.indexOf(document.activeElement.closest("li"));
    items[place + step]?.firstChild.focus();
  }
}

function differs(image, changes) {
  return Object.keys(changes).some((key) => String(image[key]) !== String(changes[key]));
}

function makeRow({ number, name }) {
  const item = document.createElement("li");
  const row = document.createElement("button");
  row.type = "button";
  row.className = "image-row";
  row.dataset.number = number;
  const [label, bar, sure] = ["name", "bar", "sure"].map((kind) => {
    const span = document.createElement("span");
    span.className = kind;
    return span;
  });
  label.textContent = name;
  row.append(label, bar, sure);
  item.append(row);
  return { item, row, bar, sure };
}

/** Shares of the classes as stripes of a gradient with hard edges. */
function stripes(labelled, total, classes) {
  let done = 0;
  const stops = [];
  labelled.forEach((count, index) => {
    if (!count || !classes[index]) return;
    const from = (100 * done) / total;
    done += count;
    stops.push(`${css(classes[index].color)} ${from}% ${(100 * done) / total}%`);
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
