// Numbers as Python and NumPy have them.

/**
 * @param {number} value not negative.
 * @returns {number} the nearest integer; a half goes to the even one, as `round` of Python does.
 */
export function round(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/**
 * @param {ArrayLike<number>} logits
 * @returns {number[]} probabilities that add up to 1.
 */
export function softmax(logits) {
  const largest = Math.max(...Array.from(logits));
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number} log(exp(a) + exp(b)).
 */
export const logAddExp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
