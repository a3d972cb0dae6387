// Resizing as Pillow 13 does it (src/libImaging/Resample.c), to the last bit: in integers of 22 bits behind the point, along
// each row first and rounded to a byte, then along each column; the other way round where this leaves far fewer rows.

import { Plane } from "./plane.js";

const PRECISION = 22;

/** @typedef {{ support: number, weight: (x: number) => number }} Filter */

/** @type {Filter} a triangle: `Image.Resampling.BILINEAR` */
export const BILINEAR = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };
/** @type {Filter} a mean: `Image.Resampling.BOX` */
export const BOX = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };

/**
 * @param {Plane} image
 * @param {number} width
 * @param {number} height
 * @param {Filter} filter
 * @param {number[]} box left, top, right and bottom of the part to scale, which may end within a pixel; by default all.
 * @returns {Plane}
 */
export function resized(image, width, height, filter, box = [0, 0, image.width, image.height]) {
  const [left, top, right, bottom] = box.map(Math.fround);
  const acrossNeeded = width !== image.width || left !== 0 || right !== width;
  const downNeeded = height !== image.height || top !== 0 || bottom !== height;
  const across = (plane) => (acrossNeeded ? alongRows(plane, weights(image.width, left, right, width, filter), width) : plane);
  const down = (plane) => (downNeeded ? alongColumns(plane, weights(image.height, top, bottom, height, filter), height) : plane);
  return isTall(image, width, height) ? across(down(image)) : down(across(image));
}

// Since Pillow 13, see its change 9549. Pillow measures the picture here, and not the part of it.
function isTall(image, width, height) {
  return image.height > height && image.height - height > 2 * (image.width - width);
}

// For each target pixel, the first source pixel and the weights of this one and those that follow.
function weights(sourceSize, from, to, targetSize, filter) {
  // Pillow subtracts in single precision.
  const scale = Math.fround(to - from) / targetSize;
  const filterScale = Math.max(scale, 1);
  const support = filter.support * filterScale;
  return Array.from({ length: targetSize }, (_, target) => {
    const centre = from + (target + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(sourceSize, Math.trunc(centre + support + 0.5));
    const exact = [];
    let sum = 0;
    for (let source = first; source < end; source++) {
      const weight = filter.weight((source - centre + 0.5) * (1 / filterScale));
      exact.push(weight);
      sum += weight;
    }
    const factors = exact.map((weight) => Math.trunc(0.5 + (sum === 0 ? weight : weight / sum) * 2 ** PRECISION));
    return { first, factors: Int32Array.from(factors) };
  });
}

const toByte = (sum) => Math.min(255, Math.max(0, sum >> PRECISION));

function alongRows(image, table, width) {
  const result = new Plane(width, image.height);
  for (let y = 0; y < image.height; y++) {
    const row = y * image.width;
    for (let x = 0; x < width; x++) {
      const { first, factors } = table[x];
      let sum = 1 << (PRECISION - 1);
      for (let i = 0; i < factors.length; i++) {
        sum += image.data[row + first + i] * factors[i];
      }
      result.data[y * width + x] = toByte(sum);
    }
  }
  return result;
}

function alongColumns(image, table, height) {
  const { width, data } = image;
  const result = new Plane(width, height);
  for (let y = 0; y < height; y++) {
    const { first, factors } = table[y];
    for (let x = 0; x < width; x++) {
      let sum = 1 << (PRECISION - 1);
      for (let i = 0; i < factors.length; i++) {
        sum += data[(first + i) * width + x] * factors[i];
      }
      result.data[y * width + x] = toByte(sum);
    }
  }
  return result;
}
