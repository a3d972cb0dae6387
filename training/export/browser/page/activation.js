// Activation maps: the log-odds of pneumonia at each place of what a model saw, as worker/inference/activation.py.

import { logAddExp, round } from "./numbers.js";

const FULL_SCALE = 24;
// Rows and columns of a map of the whole film.
const FILM_MAP = 16;

/** @typedef {import("./lungs.js").Shares} Shares */

/**
 * @param {number[]} evidence the logits (normal, bacterial, viral) of each place, row by row.
 * @returns {number[]} the log-odds of pneumonia at each place.
 */
export function logOdds(evidence) {
  return Array.from({ length: evidence.length / 3 }, (_, place) => {
    const [normal, bacterial, viral] = evidence.slice(3 * place, 3 * place + 3);
    return logAddExp(bacterial, viral) - normal;
  });
}

/**
 * @param {number[]} ofPart log-odds of the network that sees a part of the film. They count as 0 outside the part.
 * @param {Shares} part
 * @param {number[] | null} ofFilm log-odds of the network that sees the whole film: the result is the mean of both.
 * @returns {number[]} the log-odds at each place of the film, row by row.
 */
export function overFilm(ofPart, { left, top, right, bottom }, ofFilm) {
  const seen = sampled(ofPart, [left, right], [top, bottom]);
  if (ofFilm === null) {
    return seen;
  }
  const film = sampled(ofFilm, [0, 1], [0, 1]);
  return seen.map((odds, i) => (odds + film[i]) / 2);
}

/**
 * @param {number[]} odds
 * @returns {Uint8Array} 0 where normal is more likely, 255 from `FULL_SCALE` up.
 */
export function picture(odds) {
  return Uint8Array.from(odds, (value) => round(255 * Math.min(1, Math.max(0, value / FULL_SCALE))));
}

// The value at the centre of each place of the film's map: that of the nearest place of a square map of a part, else 0.
function sampled(map, [left, right], [top, bottom]) {
  const count = Math.sqrt(map.length);
  const columns = places(left, right, count);
  return places(top, bottom, count).flatMap((row) => columns.map((column) => (row === null || column === null ? 0 : map[row * count + column])));
}

// For the centre of each row of a film's map its row in a part from `start` to `end`; null: it has none.
function places(start, end, count) {
  return Array.from({ length: FILM_MAP }, (_, i) => {
    const place = Math.floor((((i + 0.5) / FILM_MAP - start) / (end - start)) * count);
    return place >= 0 && place < count ? place : null;
  });
}
