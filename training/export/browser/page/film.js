// Finds the film in a picture that shows it on a plain margin or on a page, as worker/inference/film.py, which gives the
// reasons for each number. All lengths are in pixels of a picture of at most LONGEST_SIDE.

import { Rejected } from "./rejection.js";
import { Plane } from "./plane.js";

export const LONGEST_SIDE = 256;

const STRIPS = [[3, 5], [8, 10]];
const PIECES = 8;
const TAIL = 0.05;
const STRIP_SPAN = 24;
const PIECE_SPAN = 12;
const SLACK = 4;
const DARK = 64;
const LEAST_FILM_ON_DARK = 0.7;
const DEEPEST_DARK_SIDE = 0.155;
const MOST_FILM_ON_LIGHT = 0.96;
const SIDES_OF_A_PAGE = 3;
const LEAST_FILM_WITH_SOFT_EDGES = 0.55;
const BLANK = 0.01;
const SMALLEST = 24;
const BUSY_AT_FIRST = 0.1;
const BUSY = 0.25;
const SHORTER = 3;
const REACH = 3;
const RISE = 0.5;
const FAR = 14;
const EMPTY = 0.03;
const GAP = 0.02;
const ROUNDS = 3;

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Box left <= x < right, top <= y < bottom */
/** @typedef {[number, number][]} Levels the lowest and the highest grey level of each piece of a strip */

const widthOf = (box) => box.right - box.left;
const heightOf = (box) => box.bottom - box.top;
const areaOf = (box) => widthOf(box) * heightOf(box);
const cutOf = (plane, box) => plane.cut(box.left, box.top, box.right, box.bottom);
const within = (box, outer) => ({
  left: box.left + outer.left, top: box.top + outer.top, right: box.right + outer.left, bottom: box.bottom + outer.top,
});
const sizeOf = (plane) => plane.width * plane.height;
const meanOf = (values, start = 0, end = values.length) => {
  let sum = 0;
  for (let i = start; i < end; i++) {
    sum += values[i];
  }
  return sum / (end - start);
};

/**
 * @param {Plane} grey reduced to about LONGEST_SIDE.
 * @returns {Box | null} the film; null: there is no margin, or one that does no harm.
 * @throws {Rejected} `on_a_page`: there is a margin that cannot be removed reliably.
 */
export function findFilm(grey) {
  const whole = { left: 0, top: 0, right: grey.width, bottom: grey.height };
  let film = whole;
  for (let turn = 0; turn < ROUNDS; turn++) {
    const inner = withoutMargin(cutOf(grey, film));
    if (inner === null) {
      break;
    }
    film = within(inner, film);
  }
  const isWhole = film.left === 0 && film.top === 0 && film.right === grey.width && film.bottom === grey.height;
  return isWhole ? null : film;
}

function withoutMargin(grey) {
  const sides = plainSides(grey);
  return sides.length ? withoutLightMargin(grey, sides) ?? withoutDarkMargin(grey, sides) : null;
}

const lowestOf = (levels) => Math.min(...levels.map(([low]) => low));

function withoutLightMargin(grey, sides) {
  const light = sides.filter((levels) => lowestOf(levels) >= DARK);
  if (!light.length) {
    return null;
  }
  const content = contentOf(grey, light, SLACK);
  const box = extent(content);
  if (box !== null && hasSharpEdges(contentOf(grey, light, FAR), box)) {
    return areaOf(box) <= MOST_FILM_ON_LIGHT * sizeOf(grey) ? single(content, box) : null;
  }
  if (meanOf(content.data) < BLANK) {
    return null;
  }
  const least = LEAST_FILM_WITH_SOFT_EDGES * sizeOf(grey);
  if (box === null || areaOf(box) < least || light.length >= SIDES_OF_A_PAGE) {
    throw new Rejected("on_a_page");
  }
  return null;
}

function withoutDarkMargin(grey, sides) {
  const dark = sides.filter((levels) => lowestOf(levels) < DARK);
  const box = dark.length ? extent(contentOf(grey, dark, SLACK)) : null;
  if (box === null || Math.min(widthOf(box), heightOf(box)) < SMALLEST) {
    return null;
  }
  const film = shrunk(box, grey);
  if (areaOf(box) < LEAST_FILM_ON_DARK * sizeOf(grey) || deepest(box, grey) > DEEPEST_DARK_SIDE) {
    return film;
  }
  // The dark margin may be the frame of a page.
  const inner = cutOf(grey, film);
  const onPage = withoutLightMargin(inner, plainSides(inner));
  return onPage === null ? null : within(onPage, film);
}

/** @type {(grey: Plane) => Levels[]} the grey levels of each side that is plain. */
function plainSides(grey) {
  const turned = grey.transposed();
  return [grey, grey.flipped(), turned, turned.flipped()].map(plainLevels).filter((levels) => levels.length);
}

/** @type {(lines: Plane) => Levels} of the strip along the first lines; none: it is not plain. */
function plainLevels({ width, height, data }) {
  for (const [start, stop] of STRIPS) {
    const length = Math.floor((width - 2 * start) / PIECES);
    if (length < 1 || height < stop) {
      break;
    }
    const tail = Math.trunc(TAIL * 2 * length);
    /** @type {Levels} */
    const levels = [];
    for (let piece = 0; piece < PIECES; piece++) {
      const values = [];
      for (let y = start; y < stop; y++) {
        const from = y * width + start + piece * length;
        values.push(...data.subarray(from, from + length));
      }
      values.sort((a, b) => a - b);
      levels.push([values[tail], values[values.length - 1 - tail]]);
    }
    const span = Math.max(...levels.map(([, high]) => high)) - lowestOf(levels);
    if (span <= STRIP_SPAN || Math.max(...levels.map(([low, high]) => high - low)) <= PIECE_SPAN) {
      return levels;
    }
  }
  return [];
}

/** @type {(grey: Plane, sides: Levels[], slack: number) => Plane} 1 where a pixel differs from the margins' levels. */
function contentOf(grey, sides, slack) {
  const table = new Uint8Array(256).fill(1);
  for (const [low, high] of sides.flat()) {
    table.fill(0, Math.max(0, low - slack), Math.min(256, high + slack + 1));
  }
  return grey.mapped(table);
}

/** @type {(content: Plane) => Box | null} the rows and columns that are mostly content, without writing and rulers. */
function extent(content) {
  let [left, right, top, bottom] = [0, content.width, 0, content.height];
  for (const share of [BUSY_AT_FIRST, BUSY, BUSY]) {
    const rows = content.cut(left, 0, right, content.height).rowSums();
    [top, bottom] = longRuns(rows.map((count) => count >= share * (right - left)));
    const columns = content.cut(0, top, content.width, bottom).transposed().rowSums();
    [left, right] = longRuns(columns.map((count) => count >= BUSY * (bottom - top)));
    if (top === bottom || left === right) {
      return null;
    }
  }
  return { left, top, right, bottom };
}

/** @type {(busy: boolean[]) => [number, number]} where the first long run starts and the last one ends. */
function longRuns(busy) {
  const runs = runsOf(busy);
  const longest = Math.max(...runs.map(([start, end]) => end - start));
  const long = runs.filter(([start, end]) => SHORTER * (end - start) >= longest);
  return long.length ? [long[0][0], long[long.length - 1][1]] : [0, 0];
}

/** @type {(line: boolean[]) => [number, number][]} start and end of each run of true values. */
function runsOf(line) {
  const runs = [];
  let start = -1;
  for (let i = 0; i <= line.length; i++) {
    if (line[i] && start < 0) {
      start = i;
    } else if (!line[i] && start >= 0) {
      runs.push([start, i]);
      start = -1;
    }
  }
  return runs;
}

/** @type {(far: Plane, box: Box) => boolean} whether more than two thirds of the margin end at a sharp edge. */
function hasSharpEdges(far, box) {
  let [sharp, soft] = [0, 0];
  for (const [depth, rise] of edges(far, box)) {
    if (rise >= RISE) {
      sharp += depth;
    } else {
      soft += depth;
    }
  }
  return sharp > 2 * soft;
}

// Each margin's depth, and how much the share of pixels far from it rises at its edge.
function edges(far, box) {
  const rows = far.cut(box.left, 0, box.right, far.height);
  const columns = far.cut(0, box.top, far.width, box.bottom).transposed();
  const depths = depthsOf(box, far);
  return [rows, rows.flipped(), columns, columns.flipped()].flatMap((lines, side) => {
    const depth = depths[side];
    if (depth <= REACH) {
      return [];
    }
    const share = (line) => meanOf(lines.data, line * lines.width, (line + 1) * lines.width);
    const inside = Array.from({ length: Math.min(REACH + 1, lines.height - depth) }, (_, i) => share(depth + i));
    return [[depth, Math.max(...inside) - share(depth - REACH)]];
  });
}

/** @type {(content: Plane, box: Box) => Box} the film; rejects one that is tiny, or two parts with a gap. */
function single(content, box) {
  const inside = cutOf(content, box);
  if (Math.min(inside.width, inside.height) < SMALLEST || hasGap(inside) || hasGap(inside.transposed())) {
    throw new Rejected("on_a_page");
  }
  return shrunk(box, content);
}

/** @type {(content: Plane) => boolean} whether rows of margin, with sharp edges, divide the content in two. */
function hasGap(content) {
  const shares = content.rowSums().map((sum) => sum / content.width);
  return runsOf(shares.map((share) => share <= EMPTY)).some(([start, end]) => {
    const above = shares[Math.max(start - REACH, 0)];
    const below = shares[Math.min(end + REACH, shares.length) - 1];
    return end - start > GAP * shares.length && Math.min(above, below) > RISE;
  });
}

// Leaves out the lines in which the film and its margin are mixed.
function shrunk(box, plane) {
  const [top, bottom, left, right] = depthsOf(box, plane).map((depth) => (depth > 0 ? 1 : 0));
  return { left: box.left + left, top: box.top + top, right: box.right - right, bottom: box.bottom - bottom };
}

// The largest margin, as a share of the picture's height or width.
function deepest(box, plane) {
  const [top, bottom, left, right] = depthsOf(box, plane);
  return Math.max(Math.max(top, bottom) / plane.height, Math.max(left, right) / plane.width);
}

// The margins at the top, bottom, left and right.
const depthsOf = (box, plane) => [box.top, plane.height - box.bottom, box.left, plane.width - box.right];
