// The classes: which one is painted, their keys, and their shares of the labels and of the visible prediction.

import { css } from "./colors.js";
import { VOID } from "./labels.js";
import { percent } from "./words.js";

const TYPING = 900; // milliseconds within which two digits are one number

export class ClassList {
  #rows = new Map(); // by value

  constructor(onChoose) {
    this.list = document.getElementById("class-list");
    this.filter = document.getElementById("class-filter");
    this.onChoose = onChoose;
    this.digits = "";
    this.typedAt = -Infinity;
    this.list.addEventListener("click", (event) => {
      const row = event.target.closest("button");
      if (row) onChoose(Number(row.dataset.value));
    });
    this.list.addEventListener("keydown", (event) => this.#walk(event));
    this.filter.addEventListener("input", () => this.#filter());
    this.filter.addEventListener("keydown", (event) => this.#choose(event));
  }

  setClasses(classes) {
    this.classes = classes;
    const rows = [[VOID, { name: "not labelled" }], ...classes.entries()].map(([value, one]) => {
      const row = makeRow(value, one);
      this.#rows.set(value, row);
      return row;
    });
    this.list.replaceChildren(...rows);
  }

  setCurrent(value) {
    for (const [other, row] of this.#rows) {
      row.setAttribute("aria-checked", String(other === value));
      row.tabIndex = other === value ? 0 : -1;
    }
    this.#rows.get(value)?.scrollIntoView({ block: "nearest" });
  }

  /** Choose by a digit: at once, and again when a second digit makes it a larger number. Returns what was typed and the class. */
  type(digit, now) {
    const both = now - this.typedAt < TYPING ? this.digits + digit : digit;
    this.digits = this.#valueOf(both) === null ? digit : both;
    this.typedAt = now;
    const value = this.#valueOf(this.digits);
    if (value !== null) this.onChoose(value);
    return { digits: this.digits, value };
  }

  /** Show shares of 0 to 1 by class. column: "labelled" or "predicted"; titles: what each of them means. */
  showShares(shares, column, titles = []) {
    shares.forEach((share, value) => {
      const cell = this.#rows.get(value)?.querySelector(`.${column}`);
      if (!cell) return;
      cell.textContent = percent(share);
      cell.title = titles[value] ?? "";
    });
  }

  #valueOf(digits) {
    const number = Number(digits);
    if (digits === "0") return VOID;
    return digits[0] !== "0" && number <= this.classes.length ? number - 1 : null;
  }

  #filter() {
    const wanted = this.filter.value.trim().toLowerCase();
    for (const row of this.#rows.values()) row.hidden = !row.dataset.name.includes(wanted);
  }

  #choose(event) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    const first = [...this.#rows.values()].find((row) => !row.hidden);
    if (event.key === "Enter" && this.filter.value && first) this.onChoose(Number(first.dataset.value));
    this.filter.value = "";
    this.#filter();
    document.getElementById("canvas").focus();
    event.preventDefault();
    event.stopPropagation();
  }

  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation(); // the arrow keys would pan the image
    const shown = [...this.#rows.values()].filter((row) => !row.hidden);
    const next = shown[shown.indexOf(document.activeElement) + step];
    if (!next) return;
    next.focus();
    this.onChoose(Number(next.dataset.value));
  }
}

function makeRow(value, { name, color }) {
  const row = document.createElement("button");
  row.type = "button";
  row.className = "class-row";
  row.role = "radio";
  row.dataset.value = value;
  row.dataset.name = name.toLowerCase();
  row.title = name;
  const cells = ["key", color ? "swatch" : "swatch void", "name", "share labelled", "share predicted"].map((kind) => {
    const cell = document.createElement("span");
    cell.className = kind;
    return cell;
  });
  cells[0].textContent = value === VOID ? "0" : value + 1;
  if (color) cells[1].style.background = css(color);
  cells[2].textContent = name;
  row.append(...cells);
  return row;
}
