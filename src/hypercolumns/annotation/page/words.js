// Numbers in the words of the page.

const NUMBER = new Intl.NumberFormat("en");

/** How sure the model is. margin: 0 (undecided between two classes) to 1. No more than is true: 0.999 is 99 %. */
export const sureness = (margin) => `${Math.floor(100 * margin + 1e-6)} % sure`;

/** A share of 0 to 1; "" for none. */
export function percent(share) {
  if (share === 0) return "";
  if (share < 0.001) return "<0.1 %";
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** A count of things: "1 image", "2,000 images". */
export const counted = (count, noun) => `${NUMBER.format(count)} ${noun}${count === 1 ? "" : "s"}`;
