// Colours of the overlays, as 32-bit pixels of an ImageData.

// From unsure to sure, bright to dark, even in lightness: readable without hues too.
const RAMP = [
  [252, 255, 164], [251, 182, 26], [227, 89, 51], [159, 42, 99], [87, 16, 110], [20, 11, 53],
];

/** A pixel of an ImageData, seen through a Uint32Array on a little-endian machine (all that run browsers). */
export function pack([red, green, blue], alpha) {
  return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** One packed colour for each of the 256 values of a label map; values without a class are transparent. */
export function classColors(classes, alpha) {
  const table = new Uint32Array(256);
  classes.forEach(({ color }, index) => (table[index] = pack(color, alpha)));
  return table;
}

/** The same, opaque and mixed with white: lines that show on dark photos and in the colour of their class. */
export function lineColors(classes) {
  const mixed = classes.map(({ color }) => ({ color: color.map((channel) => Math.round(0.6 * channel + 0.4 * 255)) }));
  return classColors(mixed, 1);
}

/** Packed colours of the margins 0 (unsure) to 255 (sure). */
export function marginColors(alpha) {
  return Uint32Array.from({ length: 256 }, (_, margin) => pack(rampColor(margin / 255), alpha));
}

function rampColor(share) {
  const place = share * (RAMP.length - 1);
  const index = Math.min(RAMP.length - 2, Math.floor(place));
  return RAMP[index].map((from, channel) => Math.round(from + (RAMP[index + 1][channel] - from) * (place - index)));
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** Draw the scale of the margins into a canvas of one row. */
export function drawScale(canvas) {
  canvas.width = 256;
  canvas.height = 1;
  const picture = new ImageData(256, 1);
  new Uint32Array(picture.data.buffer).set(marginColors(1));
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
