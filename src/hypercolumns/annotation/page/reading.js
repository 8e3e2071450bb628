// What the prediction says: at the place under the pointer, and in shares over what is visible.

import { VOID } from "./labels.js";
import { sureness } from "./words.js";

/** One line about the pixel under the pointer or under the cursor of the keyboard. */
export function readPlace({ tools, workspace, classes }) {
  const place = tools.keyboard ?? tools.cursor?.map(Math.floor);
  if (!place || !workspace.labels) return "";
  const [column, row] = place;
  if (column < 0 || row < 0 || column >= workspace.labels.width || row >= workspace.labels.height) return "";
  const label = workspace.labels.at(row, column);
  const parts = [`row ${row}, column ${column}`, label === VOID ? "no label" : `label ${classes[label]?.name ?? label}`];
  const predicted = workspace.grid && readGrid(workspace.grid, row, column);
  if (predicted) parts.push(`predicted ${classes[predicted.value].name}, ${sureness(predicted.margin)}`);
  return parts.join("  ·  ");
}

/** The prediction at the place of the grid that is nearest to a pixel; null outside of the grid. */
function readGrid(grid, row, column) {
  const y = Math.round((row - grid.top) / grid.rowStep);
  const x = Math.round((column - grid.left) / grid.columnStep);
  if (y < 0 || x < 0 || y >= grid.height || x >= grid.width) return null;
  const index = y * grid.width + x;
  if (grid.labels[index] === VOID) return null;
  return { value: grid.labels[index], margin: grid.margins[index] / 255 };
}

/** Show the shares of the classes and the mean margin in a prediction, or none of them. */
export function showPrediction({ classes, classList, display }, grid) {
  const counts = new Array(256).fill(0);
  let sum = 0;
  for (let index = 0; grid && index < grid.labels.length; index++) {
    counts[grid.labels[index]] += 1;
    sum += grid.margins[index];
  }
  const predicted = counts.slice(0, classes.length);
  const total = predicted.reduce((all, count) => all + count, 0);
  classList.showShares(predicted.map((count) => count / Math.max(1, total)), "predicted");
  const isEmpty = total === 0;
  display.showMargin(isEmpty ? null : sum / grid.margins.length / 255);
}
