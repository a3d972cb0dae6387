// Recognises a wide plain margin that is left in the square, as worker/inference/margins.py.

import { round } from "./numbers.js";
import { Plane } from "./plane.js";

const DISTANCE = 0.04;
const LARGEST_DIFFERENCE = 4;
const SHARE_OF_PAIRS = 0.95;
const LIGHT = 150;
const LARGEST_LIGHT_PART = 0.08;
const LARGEST_PLAIN_PART = 0.36;
const SMALLEST_FILM = 0.5;

/**
 * @param {Plane} grey a square, before its exposure is normalised.
 * @returns {boolean}
 */
export function hasWideMargin(grey) {
  const turned = grey.transposed();
  const [rows, columns] = [plain(grey), plain(turned)];
  const [down, across] = [mean(rows), mean(columns)];
  if (Math.max(down, across) > LARGEST_PLAIN_PART || (1 - down) * (1 - across) < SMALLEST_FILM) {
    return true;
  }
  // A dark border may surround the page.
  const [top, bottom] = within(without(rows, light(grey)));
  const [left, right] = within(without(columns, light(turned)));
  const inner = grey.cut(left, top, right, bottom);
  return [inner, inner.transposed()].some((lines) => {
    const isLight = light(lines);
    return mean(plain(lines).map((isPlain, line) => isPlain && isLight[line])) > LARGEST_LIGHT_PART;
  });
}

/** @type {(truths: boolean[]) => number} */
const mean = (truths) => truths.filter(Boolean).length / truths.length;

/** @type {(these: boolean[], others: boolean[]) => boolean[]} */
const without = (these, others) => these.map((truth, line) => truth && !others[line]);

/**
 * @param {Plane} lines
 * @returns {boolean[]} which rows are plain.
 */
function plain({ width, height, data }) {
  const distance = Math.max(1, round(DISTANCE * width));
  const pairs = width - distance;
  const found = [];
  for (let y = 0; y < height; y++) {
    let alike = 0;
    for (let i = y * width; i < y * width + pairs; i++) {
      alike += Math.abs(data[i + distance] - data[i]) <= LARGEST_DIFFERENCE ? 1 : 0;
    }
    found.push(alike >= SHARE_OF_PAIRS * pairs);
  }
  return found;
}

/**
 * @param {Plane} lines
 * @returns {boolean[]} which rows are light on average.
 */
const light = (lines) => lines.rowSums().map((sum) => sum >= LIGHT * lines.width);

/**
 * @param {boolean[]} border which lines may belong to a border.
 * @returns {[number, number]} the first line between the borders at both ends, and the one after the last.
 */
const within = (border) => [border.indexOf(false), border.lastIndexOf(false) + 1];
