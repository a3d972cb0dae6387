// Numbers as Python and NumPy have them.

// Of `exp` in single precision: the logarithm of 2 in two parts, and a rational approximation between two powers of 2.
const LOG2_E = Math.fround(1.44269504);
const LN_2 = [0.693145752, 1.42860677e-6].map(Math.fround);
const ABOVE = [
  5.082762527590693718096e-4, 6.757896990527504603057e-3, 5.114512081637298353406e-2, 2.473615434895520810817e-1,
  7.257664613233124478488e-1, 9.999999999980870924916e-1,
].map(Math.fround);
const BELOW = [2.159509375685829852307e-2, -2.742335390411667452936e-1, 1].map(Math.fround);
// Added and taken off again, it rounds to an integer.
const ROUNDING = 1.5 * 2 ** 23;
// A score has no more decimals, as in webui/formatting.py.
const MOST_DECIMALS = 8;

/**
 * @param {number} value
 * @returns {number} the nearest integer; a half goes to the even one, as `round` of Python and `rint` of NumPy do.
 */
export function round(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
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

// A fused multiplication and addition: one rounding to single precision.
const fused = (a, b, c) => Math.fround(a * b + c);

// As NumPy computes it on x86 (numpy/_core/src/umath/loops_exponent_log.dispatch.c.src). It is off by a few units in the
// last place, which can move a box by enough to change a pixel of the model input.
function exp(x) {
  const power = Math.fround(Math.fround(Math.fround(x * LOG2_E) + ROUNDING) - ROUNDING);
  const rest = LN_2.reduce((left, part) => fused(-power, part, left), x);
  const polynomial = (factors) => factors.reduce((sum, factor) => fused(sum, rest, factor));
  return Math.fround(Math.fround(polynomial(ABOVE) / polynomial(BELOW)) * 2 ** power);
}

/**
 * @param {number} logOdds
 * @returns {number} the probability, in single precision, as worker/inference/lung_box.py.
 */
export function sigmoid(logOdds) {
  const power = exp(-Math.min(30, Math.max(-30, logOdds)));
  return Math.fround(1 / Math.fround(1 + power));
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number} log(exp(a) + exp(b)).
 */
export const logAddExp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

/**
 * @param {number} value
 * @returns {string} a probability with two decimals, or more, as `probability` of webui/formatting.py: none reads 0.00 or 1.00.
 */
export function probabilityText(value, decimals = 2) {
  const last = 10 ** -decimals;
  if (value < last / 2) {
    return `<${last.toFixed(decimals)}`;
  }
  return value >= 1 - last / 2 ? `>${(1 - last).toFixed(decimals)}` : value.toFixed(decimals);
}

/**
 * @param {number} value
 * @returns {string} a limit of scores with enough decimals, up to eight, to tell it from 0 and 1, as `limit` there.
 */
export const limitText = (value, least = 2) => value.toFixed(Math.max(least, decimalsOf(value)));

/**
 * @returns {number} with how many decimals, two to eight, a score and its limits must be written, as `decimals_beside` there:
 *     as few as show whether it is below each limit.
 */
export function decimalsBeside(score, limits) {
  let decimals = Math.max(2, ...limits.map(decimalsOf));
  const shown = (value) => Number(value.toFixed(decimals));
  while (decimals < MOST_DECIMALS && limits.some((limit) => shown(score) < shown(limit) !== score < limit)) {
    decimals += 1;
  }
  return decimals;
}

/**
 * @param {number} value
 * @returns {string} a distance from the training data, as `distance` there: two to six decimals, as few as show whether it is
 *     beyond the limit, 1.
 */
export function distanceText(value) {
  const texts = [2, 3, 4, 5, 6].map((decimals) => value.toFixed(decimals));
  return texts.find((text) => Number(text) > 1 === value > 1) ?? texts.at(-1);
}

function decimalsOf(value) {
  const rest = Math.min(value, 1 - value);
  return rest >= 0.01 || rest <= 0 ? 2 : Math.min(MOST_DECIMALS, Math.ceil(-Math.log10(rest)) + 1);
}
