// Says how far an image is from the training data, in the integers of worker/inference/distance.py, so with its numbers.

import { round } from "./numbers.js";

// Whitening weights are in units of 2 ** -FINENESS, whitened features in units of 2 ** -KEPT.
const FINENESS = 30n;
const KEPT = 10n;
const MOST = 1n << 26n;
const DECIMALS = 6;

/**
 * @typedef {object} Reference what `nightread export --format browser` writes to distance.json: distance.npz as numbers.
 * @property {number} step of the network's features: each is an integer times this number.
 * @property {number[][]} means of each class: features added up over the places, in steps.
 * @property {number[][]} whitening makes the features of each class uncorrelated, with a variance of 1.
 */

/**
 * @param {number | null} distance in units of the limit; null: the model does not say.
 * @returns {boolean} whether an image is beyond the limit, as worker/card/band.py.
 */
export const isFar = (distance) => distance !== null && distance > 1;

/** Where the training data of a model is, and the distance that is the limit. */
export class DistanceMeasure {
  /**
   * @param {Reference} reference
   * @param {number} limit
   */
  constructor({ step, means, whitening }, limit) {
    Object.assign(this, { step, limit });
    [this.means, this.whitening] = [means, whitening].map((rows) => rows.map((row) => BigInt64Array.from(row, BigInt)));
  }

  /**
   * @param {Float32Array} features of the network at each place, place by place.
   * @returns {number} the distance in units of the limit, to six decimals.
   */
  measure(features) {
    const sums = this.sumsOf(features);
    const squares = this.means.map((mean) => this.squared(sums.map((sum, i) => sum - mean[i])));
    const nearest = squares.reduce((least, square) => (square < least ? square : least));
    const distance = Math.sqrt(Number(nearest)) / 2 ** Number(KEPT);
    const scale = 10 ** DECIMALS;
    return round((distance / this.limit) * scale) / scale;
  }

  // The features in steps, added up over the places.
  sumsOf(features) {
    const sums = new Float64Array(this.whitening.length);
    features.forEach((value, i) => { sums[i % sums.length] += round(value / this.step); });
    return BigInt64Array.from(sums, BigInt);
  }

  // A BigInt64Array wraps as int64 of NumPy does. So does asIntN, which also keeps the arithmetic fast.
  squared(differences) {
    let squared = 0n;
    for (const row of this.whitening) {
      let whitened = 0n;
      for (let i = 0; i < row.length; i++) {
        whitened = BigInt.asIntN(64, whitened + row[i] * differences[i]);
      }
      whitened >>= FINENESS - KEPT;
      whitened = whitened > MOST ? MOST : whitened < -MOST ? -MOST : whitened;
      squared = BigInt.asIntN(64, squared + whitened * whitened);
    }
    return squared;
  }
}
