// From the path of a tool to pixels. Pixels are runs in flat indices: [start, length, start, length, ...].
// Integer arithmetic alone, so that every browser paints the same pixels.

/** Columns left and right of the centre that a disc covers in each of its rows, from -reach to +reach. */
function disc(diameter) {
  const rows = [];
  for (let index = 0; index < diameter; index++) {
    const y = 2 * index - (diameter - 1); // doubled coordinates: the centre of an even disc lies between pixels
    let x = (diameter - 1) % 2;
    while ((x + 2) ** 2 + y ** 2 <= diameter ** 2) x += 2;
    // floor: an even disc reaches one pixel further to the left and to the top of the pixel that it is centred on
    rows.push({ row: Math.floor(y / 2), from: Math.floor(-x / 2), to: Math.floor(x / 2) });
  }
  return rows;
}

/** The pixels of a line by Bresenham's algorithm, both ends included. */
function* line([column, row], [lastColumn, lastRow]) {
  const width = Math.abs(lastColumn - column);
  const height = -Math.abs(lastRow - row);
  const right = column < lastColumn ? 1 : -1;
  const down = row < lastRow ? 1 : -1;
  let error = width + height;
  for (;;) {
    yield [column, row];
    if (column === lastColumn && row === lastRow) return;
    const doubled = 2 * error;
    if (doubled >= height) { error += height; column += right; }
    if (doubled <= width) { error += width; row += down; }
  }
}

/** Runs of the discs along a line between two pixels [column, row], cut at the borders of the image. */
export function segmentRuns(from, to, diameter, height, width) {
  const extents = new Map(); // along a line, the discs cover one interval of each row
  const shape = disc(diameter);
  for (const [column, row] of line(from, to)) {
    for (const part of shape) {
      const extent = extents.get(row + part.row);
      if (extent) {
        extent[0] = Math.min(extent[0], column + part.from);
        extent[1] = Math.max(extent[1], column + part.to);
      } else extents.set(row + part.row, [column + part.from, column + part.to]);
    }
  }
  const runs = [];
  for (const row of [...extents.keys()].sort((a, b) => a - b)) {
    const first = Math.max(0, extents.get(row)[0]);
    const last = Math.min(width - 1, extents.get(row)[1]);
    if (row >= 0 && row < height && first <= last) runs.push(row * width + first, last - first + 1);
  }
  return runs;
}

/** Runs of the pixels whose centres lie inside a polygon of [x, y] by the even-odd rule. */
export function polygonRuns(vertices, height, width) {
  const tops = vertices.map(([, y]) => y);
  const firstRow = Math.max(0, Math.floor(Math.min(...tops)));
  const lastRow = Math.min(height - 1, Math.ceil(Math.max(...tops)));
  const runs = [];
  for (let row = firstRow; row <= lastRow; row++) {
    const crossings = rowCrossings(vertices, row + 0.5);
    for (let index = 0; index + 1 < crossings.length; index += 2) {
      const first = Math.max(0, Math.ceil(crossings[index] - 0.5));
      const end = Math.min(width, Math.ceil(crossings[index + 1] - 0.5));
      if (first < end) runs.push(row * width + first, end - first);
    }
  }
  return runs;
}

function rowCrossings(vertices, y) {
  const crossings = [];
  vertices.forEach(([x1, y1], index) => {
    const [x2, y2] = vertices[(index + 1) % vertices.length];
    if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) * (x2 - x1)) / (y2 - y1)); // each vertex belongs to one edge
  });
  return crossings.sort((a, b) => a - b);
}

/** The pixels of runs that are not in others; both must be in order, without overlaps. */
export function subtractRuns(runs, others) {
  const left = [];
  for (let index = 0, first = 0; index < runs.length; index += 2) {
    let start = runs[index];
    const end = start + runs[index + 1];
    while (first < others.length && others[first] + others[first + 1] <= start) first += 2;
    for (let other = first; other < others.length && others[other] < end; other += 2) {
      if (others[other] > start) left.push(start, others[other] - start);
      start = Math.max(start, others[other] + others[other + 1]);
    }
    if (start < end) left.push(start, end - start);
  }
  return left;
}

/** The union of runs, in order, without overlaps. */
export function mergeRuns(runs) {
  const pairs = [];
  for (let index = 0; index < runs.length; index += 2) pairs.push([runs[index], runs[index] + runs[index + 1]]);
  pairs.sort((a, b) => a[0] - b[0]);
  const merged = [];
  for (const [start, end] of pairs) {
    const last = merged.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  return merged.flatMap(([start, end]) => [start, end - start]);
}
