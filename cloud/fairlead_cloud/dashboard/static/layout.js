// Where devices and their parts stand: boxes of equal width, parts as rows, boxes in rows that fill the width.

export const PART = { width: 162, height: 30, gap: 8 };
const BOX = { padding: 14, title: 26, gapX: 66, gapY: 66 };

const ORDER = { processor: 0, memory: 1, storage: 2, energy: 3, radio: 4, instance: 5 };

/** The parts of a device in the order in which they are drawn. */
export function ordered(parts) {
  return [...parts].sort(
    (a, b) => (ORDER[a.kind] ?? 9) - (ORDER[b.kind] ?? 9) || a.id.localeCompare(b.id, undefined, { numeric: true }),
  );
}

/**
 * Where parts, and devices without parts, stand (`places` by id), and in which row and column each device (`cells`).
 *
 * @param {Map<string, object[]>} devices parts by device, devices in drawing order; those without parts come on top
 * @param {number} aspect width of the drawing area by its height
 */
export function positions(devices, aspect) {
  const found = new Map();
  const cells = new Map();
  const width = PART.width + 2 * BOX.padding + BOX.gapX;
  const bare = [...devices].filter(([, parts]) => parts.length === 0);
  const full = [...devices].filter(([, parts]) => parts.length > 0);
  const columns = bestColumns(full.map(([, parts]) => heightOf(parts)), width, aspect);
  const middle = ((Math.max(1, Math.min(columns, full.length)) - 1) * width) / 2;
  bare.forEach(([name], index) => found.set(name, { x: middle + (index - (bare.length - 1) / 2) * width, y: 0 }));
  let top = bare.length ? PART.height + BOX.title + 2 * BOX.padding + BOX.gapY : 0;
  for (let row = 0; row < full.length; row += columns) {
    const inRow = full.slice(row, row + columns);
    const left = ((Math.min(columns, full.length) - inRow.length) * width) / 2;
    inRow.forEach(([name, parts], column) => {
      place(found, parts, left + column * width, top);
      cells.set(name, { row, column });
    });
    top += Math.max(...inRow.map(([, parts]) => heightOf(parts))) + BOX.gapY;
  }
  return { places: found, cells };
}

function heightOf(parts) {
  return BOX.title + 2 * BOX.padding + Math.max(1, parts.length) * (PART.height + PART.gap);
}

function bestColumns(heights, width, aspect) {
  // A few stand side by side, unless the area is upright: then no link has to pass behind a box.
  if (aspect > 1 && heights.length <= 4) return Math.max(1, heights.length);
  let best = 1;
  let closest = Infinity;
  for (let columns = 1; columns <= heights.length; columns += 1) {
    let height = 0;
    for (let row = 0; row < heights.length; row += columns) {
      height += Math.max(...heights.slice(row, row + columns)) + BOX.gapY;
    }
    const off = Math.abs(Math.log((columns * width) / height / aspect));
    if (off < closest) [best, closest] = [columns, off];
  }
  return best;
}

function place(found, parts, left, top) {
  ordered(parts).forEach((part, row) => {
    found.set(part.id, { x: left, y: top + row * (PART.height + PART.gap) });
  });
}
