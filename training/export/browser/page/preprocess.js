// Decodes a picture to a grey square that shows its film, as worker/inference/preprocess.py, with the check of its exposure.

import { bounds, equalised, stretched } from "./exposure.js";
import { findFilm, LONGEST_SIDE } from "./film.js";
import { round } from "./numbers.js";
import { Picture } from "./picture.js";
import { Plane } from "./plane.js";
import { Rejected } from "./rejection.js";
import { BILINEAR, resized } from "./resample.js";

const FINENESS = 2;
const SMALLEST_SPAN = 16;
const LARGEST_SATURATED = 0.9;
const NEARLY = 2;

/** @typedef {import("./film.js").Box} Box */

/**
 * @param {Picture} picture
 * @param {number} side edge of the square.
 * @param {number} fineness a JPEG is decoded with at least so many times `side` pixels on each side of the film.
 * @returns {Promise<{ grey: Plane, crop: Box | null }>} `crop` is the film, in pixels of the upright original; null: all.
 * @throws {Rejected}
 */
export async function checkedFilm(picture, side, fineness = FINENESS) {
  const least = Math.ceil(fineness * side);
  let image = await picture.decode(least);
  const crop = cropOf(picture, image);
  if (crop !== null) {
    const finer = Math.max(picture.width / (crop.right - crop.left), picture.height / (crop.bottom - crop.top));
    image = await picture.decode(Math.ceil(least * finer));
  }
  const grey = resized(image, side, side, BILINEAR, crop === null ? undefined : boxIn(picture, image, crop));
  checkExposure(grey);
  return { grey, crop };
}

/**
 * @param {Plane} grey
 * @returns {Plane} with its exposure evened out.
 */
export const normalised = (grey) => stretched(equalised(grey));

// The film, in pixels of the upright original.
function cropOf(picture, image) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((edge) => Math.max(1, round(edge * scale)));
  const film = findFilm(resized(image, width, height, BILINEAR));
  if (film === null) {
    return null;
  }
  const [x, y] = [picture.width / width, picture.height / height];
  return { left: round(film.left * x), top: round(film.top * y), right: round(film.right * x), bottom: round(film.bottom * y) };
}

// A part of the original, in pixels of the decoded picture. Multiplied first, as the worker does.
const boxIn = ({ width, height }, image, { left, top, right, bottom }) => [
  (left * image.width) / width, (top * image.height) / height, (right * image.width) / width, (bottom * image.height) / height,
];

// Rejects a blank or saturated image, as worker/inference/gate.py.
function checkExposure(grey) {
  const [low, high] = bounds(grey);
  if (high - low < SMALLEST_SPAN) {
    throw new Rejected("blank");
  }
  const extreme = grey.data.filter((value) => value <= NEARLY || value >= 255 - NEARLY).length;
  if (extreme / grey.data.length > LARGEST_SATURATED) {
    throw new Rejected("saturated");
  }
}
