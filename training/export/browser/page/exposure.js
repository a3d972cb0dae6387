// Exposure, as worker/inference/exposure.py: range, histogram equalisation and stretching in integers.

import { Plane } from "./plane.js";

const TAIL = 0.01;
const LEVELS = 256;
const CONTRAST_LIMIT = 3;

/**
 * @param {Plane} grey
 * @returns {number[]} how often each grey value occurs.
 */
function counted(grey) {
  const counts = new Array(LEVELS).fill(0);
  for (const value of grey.data) {
    counts[value]++;
  }
  return counts;
}

/**
 * @param {Plane} grey
 * @returns {[number, number]} the 1st and the 99th percentile.
 */
export function bounds(grey) {
  const size = grey.data.length;
  const below = Math.trunc(size * TAIL);
  let sum = 0;
  const cumulative = counted(grey).map((count) => (sum += count));
  return [cumulative.findIndex((count) => count > below), cumulative.findIndex((count) => count >= size - below)];
}

/**
 * @param {Plane} grey
 * @returns {Plane} each grey value replaced by the share of darker pixels and half the share of equal ones.
 */
export function equalised(grey) {
  const most = Math.max(1, Math.floor((CONTRAST_LIMIT * grey.data.length) / LEVELS));
  const counts = counted(grey).map((count) => Math.min(count, most));
  const total = counts.reduce((a, b) => a + b, 0);
  let sum = 0;
  return grey.mapped(counts.map((count) => {
    sum += count;
    return Math.floor(((2 * sum - count) * 255 + total) / (2 * total));
  }));
}

/**
 * @param {Plane} grey
 * @returns {Plane} the 1st percentile at 0 and the 99th at 255.
 */
export function stretched(grey) {
  const [low, high] = bounds(grey);
  if (high === low) {
    return new Plane(grey.width, grey.height);
  }
  const span = high - low;
  return grey.mapped(Array.from({ length: LEVELS }, (_, level) =>
    Math.min(255, Math.max(0, Math.floor(((level - low) * 255 + Math.floor(span / 2)) / span)))));
}
