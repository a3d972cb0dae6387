// Finds the lungs in a film, and cuts out the part that the network sees, as worker/inference/lungs.py and lung_box.py.

import { Network } from "./network.js";
import { sigmoid } from "./numbers.js";
import { Plane } from "./plane.js";
import { BILINEAR, BOX, resized } from "./resample.js";

export const FIELD_SIDE = 192;
export const FIELD_FINENESS = 4 / 3;
export const WHOLE_SIDE = 128;

const NETWORK_SIDE = 64;
const LUNG = 0.5;

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Shares of a film's width and height, 0..1. */

/** Finds the lungs in a film. */
export class LungFinder {
  /**
   * @param {Network} network computes the log-odds that each place is lung.
   * @param {{ margin: number, least_area: number }} rule
   */
  constructor(network, rule) {
    Object.assign(this, { network, rule });
  }

  /**
   * @param {Plane} whole the film, with its exposure evened out.
   * @returns {Promise<Shares | null>} the box around the lungs with its margin; null: there are no lungs.
   */
  async find(whole) {
    const logOdds = await this.network.run(resized(whole, NETWORK_SIDE, NETWORK_SIDE, BOX));
    const box = findBox(logOdds.map(sigmoid), NETWORK_SIDE, this.rule.least_area);
    return box && widened(box, this.rule.margin);
  }
}

/**
 * @param {Float32Array} lung the probability that each place of a square film is lung, row by row.
 * @param {number} side rows and columns.
 * @param {number} leastArea share of the film that must be lung.
 * @returns {Shares | null} the box around the lungs, without a margin.
 */
export function findBox(lung, side, leastArea) {
  const area = lung.filter((p) => p > LUNG).length / lung.length;
  const [columns, rows] = [extent(profile(lung, side, 1, side)), extent(profile(lung, side, side, 1))];
  if (area < leastArea || columns === null || rows === null) {
    return null;
  }
  return { left: columns[0], top: rows[0], right: columns[1], bottom: rows[1] };
}

/**
 * @param {Shares} box
 * @param {number} margin on each side, as a share of the box.
 * @returns {Shares} it ends with the film.
 */
export function widened({ left, top, right, bottom }, margin) {
  const [x, y] = [margin * (right - left), margin * (bottom - top)];
  return { left: Math.max(0, left - x), top: Math.max(0, top - y), right: Math.min(1, right + x), bottom: Math.min(1, bottom + y) };
}

/**
 * @param {import("./film.js").Box} part around the lungs, with its margin.
 * @param {import("./film.js").Box} film
 * @returns {boolean} whether a part of the lungs may lie beyond the film, as worker/card/lung_edges.py has it.
 */
export function areCutOff(part, film) {
  const [left, top, right, bottom] = ["left", "top", "right", "bottom"].map((edge) => part[edge] === film[edge]);
  return (left || right) && left + top + right + bottom > 1;
}

/**
 * @param {Plane} field a square.
 * @param {Shares} box
 * @param {number} side
 * @returns {Plane} this part of the field, scaled to a square.
 */
export function cut(field, { left, top, right, bottom }, side) {
  return resized(field, side, side, BILINEAR, [left, top, right, bottom].map((edge) => edge * field.width));
}

// The second largest probability of each line: a speck of one place moves no edge. Lines are `apart`, their places `step`.
function profile(lung, side, apart, step) {
  return Array.from({ length: side }, (_, line) => {
    let [largest, second] = [-1, -1];
    for (let i = 0; i < side; i++) {
      const p = lung[line * apart + i * step];
      [largest, second] = p > largest ? [p, largest] : [largest, Math.max(second, p)];
    }
    return second;
  });
}

// Where a profile first and last crosses one half, as shares of its length; null: nowhere.
function extent(line) {
  const first = line.findIndex((p) => p > LUNG);
  const last = line.findLastIndex((p) => p > LUNG);
  if (first < 0) {
    return null;
  }
  const start = first + 0.5 - share(line[first], line[first - 1] ?? 0);
  const end = last + 0.5 + share(line[last], line[last + 1] ?? 0);
  return [Math.max(0, start / line.length), Math.min(1, end / line.length)];
}

// How far beyond the centre of the inner place the profile falls to one half, in places.
const share = (inside, outside) => (inside - LUNG) / (inside - outside);
