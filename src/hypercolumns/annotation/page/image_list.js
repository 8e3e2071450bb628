// The list of images: what is labelled in each, and how sure the model is of it.

import { css } from "./colors.js";
import { Thumbnails } from "./thumbnails.js";
import { counted, percent, sureness } from "./words.js";

const MAX_CHIPS = 8; // of the classes of an image; the others are counted
const sum = (counts) => counts.reduce((total, count) => total + count, 0);

export class ImageList {
  #rows = new Map(); // by number: {item, row, chips, sure}
  #byNumber = new Map(); // the images

  constructor(onOpen) {
    this.list = document.getElementById("image-list");
    this.filter = document.getElementById("image-filter");
    this.order = document.getElementById("image-order");
    this.count = document.getElementById("image-count");
    this.thumbnails = new Thumbnails(this.list);
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
      if (!this.#rows.has(image.number)) this.#rows.set(image.number, makeRow(image, this.thumbnails));
      this.#show(image);
    }
    this.arrange();
    this.thumbnails.retry();
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

  /**
   * The share of each class in the labels of an image, averaged over the labelled images, so that a large one counts as
   * much as a small one; and what each share means, with the pixels of all images.
   */
  labelShares() {
    const zeros = () => this.classes.map(() => 0);
    const [shares, pixels, images] = [zeros(), zeros(), zeros()];
    let labelledImages = 0;
    for (const { labelled } of this.images) {
      const total = sum(labelled ?? []);
      if (!total) continue;
      labelledImages += 1;
      labelled.forEach((count, index) => {
        shares[index] += count / total;
        pixels[index] += count;
        images[index] += count > 0;
      });
    }
    const all = sum(pixels);
    const inWords = (count, index) =>
      `${counted(count, "labelled pixel")} in ${counted(images[index], "image")}, ${percent(count / all)} of all`;
    return {
      shares: shares.map((share) => share / Math.max(1, labelledImages)),
      titles: pixels.map((count, index) => (count ? inWords(count, index) : "")),
    };
  }

  labelledCount() {
    return this.images.filter(({ labelled }) => sum(labelled ?? []) > 0).length;
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
    this.count.textContent = `${this.labelledCount()} of ${this.images.length} labelled`;
  }

  #show({ number, labelled, margin, name, problem }) {
    const { row, chips, sure } = this.#rows.get(number);
    const total = sum(labelled ?? []);
    const parts = this.classes
      .map((one, index) => ({ ...one, share: total ? (labelled[index] ?? 0) / total : 0 }))
      .filter(({ share }) => share);
    showChips(chips, parts);
    if (problem) sure.textContent = "unreadable";
    else sure.textContent = margin === null || margin === undefined ? "" : sureness(margin);
    const shares = parts.map((one) => `${one.name} ${percent(one.share)}`).join(", ");
    const labels = total ? `${counted(total, "labelled pixel")} (${shares})` : "no labels";
    const certainty = problem || !sure.textContent ? "" : `; the model is ${sure.textContent} of the image on average`;
    row.title = `${name}: ${problem || labels}${certainty}`;
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

function makeRow({ number, name }, thumbnails) {
  const item = document.createElement("li");
  const row = document.createElement("button");
  row.type = "button";
  row.className = "image-row";
  row.dataset.number = number;
  const [label, chips, sure] = ["name", "chips", "sure"].map((kind) => {
    const span = document.createElement("span");
    span.className = kind;
    return span;
  });
  label.textContent = name;
  row.append(thumbnails.make(number), label, chips, sure);
  item.append(row);
  return { item, row, chips, sure };
}

/** A square in the colour of each class that is labelled in an image. */
function showChips(chips, classes) {
  const shown = classes.map(({ color }) => css(color)).join();
  if (chips.dataset.shown === shown) return;
  chips.dataset.shown = shown;
  chips.replaceChildren(...classes.slice(0, MAX_CHIPS).map(({ color }) => {
    const chip = document.createElement("i");
    chip.style.background = css(color);
    return chip;
  }));
  if (classes.length > MAX_CHIPS) chips.append(`+${classes.length - MAX_CHIPS}`);
}
