// The inverse cosine transforms of libjpeg in integers: whole (jidctint.c), and reduced to 4 x 4, 2 x 2 and 1 x 1 values of
// 8 x 8 (jidctred.c). The worker's decoder scales with them. They give the same bytes as libjpeg-turbo.

const BITS = 13;
const PASS_1 = 2;

/** @type {(value: number, bits: number) => number} division by a power of two, rounded. */
const descale = (value, bits) => (value + (1 << (bits - 1))) >> bits;
const grey = (value) => {
  const level = value + 128;
  return level < 0 ? 0 : level > 255 ? 255 : level;
};

const work = new Int32Array(64);

/**
 * @callback Transform
 * @param {Int32Array} block 64 dequantised coefficients, row by row.
 * @param {Uint8Array} out grey values.
 * @param {number} at where the block begins in `out`.
 * @param {number} stride bytes of a row of `out`.
 * @returns {void}
 */

function whole1(a, i, step, b, j, jump, bits, isLast) {
  const even1 = (a[i + 2 * step] + a[i + 6 * step]) * 4433;
  const even2 = even1 - a[i + 6 * step] * 15137;
  const even3 = even1 + a[i + 2 * step] * 6270;
  const sum = (a[i] + a[i + 4 * step]) * 8192;
  const difference = (a[i] - a[i + 4 * step]) * 8192;
  const [t10, t13, t11, t12] = [sum + even3, sum - even3, difference + even2, difference - even2];
  const [a7, a5, a3, a1] = [a[i + 7 * step], a[i + 5 * step], a[i + 3 * step], a[i + step]];
  const z5 = (a7 + a3 + a5 + a1) * 9633;
  const z1 = (a7 + a1) * -7373;
  const z2 = (a5 + a3) * -20995;
  const z3 = (a7 + a3) * -16069 + z5;
  const z4 = (a5 + a1) * -3196 + z5;
  const t0 = a7 * 2446 + z1 + z3;
  const t1 = a5 * 16819 + z2 + z4;
  const t2 = a3 * 25172 + z2 + z3;
  const t3 = a1 * 12299 + z1 + z4;
  const give = isLast ? (value) => grey(descale(value, bits)) : (value) => descale(value, bits);
  b[j] = give(t10 + t3);
  b[j + 7 * jump] = give(t10 - t3);
  b[j + jump] = give(t11 + t2);
  b[j + 6 * jump] = give(t11 - t2);
  b[j + 2 * jump] = give(t12 + t1);
  b[j + 5 * jump] = give(t12 - t1);
  b[j + 3 * jump] = give(t13 + t0);
  b[j + 4 * jump] = give(t13 - t0);
}

/** @type {Transform} */
function whole(block, out, at, stride) {
  for (let x = 0; x < 8; x++) {
    whole1(block, x, 8, work, x, 8, BITS - PASS_1, false);
  }
  for (let y = 0; y < 8; y++) {
    whole1(work, 8 * y, 1, out, at + y * stride, 1, BITS + PASS_1 + 3, true);
  }
}

function half1(a, i, step, b, j, jump, bits, isLast) {
  const first = a[i] * 16384;
  const even = a[i + 2 * step] * 15137 - a[i + 6 * step] * 6270;
  const [z1, z2, z3, z4] = [a[i + 7 * step], a[i + 5 * step], a[i + 3 * step], a[i + step]];
  const t0 = z1 * -1730 + z2 * 11893 + z3 * -17799 + z4 * 8697;
  const t2 = z1 * -4176 + z2 * -4926 + z3 * 7373 + z4 * 20995;
  const give = isLast ? (value) => grey(descale(value, bits)) : (value) => descale(value, bits);
  b[j] = give(first + even + t2);
  b[j + 3 * jump] = give(first + even - t2);
  b[j + jump] = give(first - even + t0);
  b[j + 2 * jump] = give(first - even - t0);
}

/** @type {Transform} */
function half(block, out, at, stride) {
  for (const x of [0, 1, 2, 3, 5, 6, 7]) {
    half1(block, x, 8, work, x, 8, BITS - PASS_1 + 1, false);
  }
  for (let y = 0; y < 4; y++) {
    half1(work, 8 * y, 1, out, at + y * stride, 1, BITS + PASS_1 + 4, true);
  }
}

function quarter1(a, i, step) {
  return a[i + 7 * step] * -5906 + a[i + 5 * step] * 6967 + a[i + 3 * step] * -10426 + a[i + step] * 29692;
}

/** @type {Transform} */
function quarter(block, out, at, stride) {
  for (const x of [0, 1, 3, 5, 7]) {
    const [first, odd] = [block[x] * 32768, quarter1(block, x, 8)];
    work[x] = descale(first + odd, BITS - PASS_1 + 2);
    work[x + 8] = descale(first - odd, BITS - PASS_1 + 2);
  }
  for (let y = 0; y < 2; y++) {
    const [first, odd] = [work[8 * y] * 32768, quarter1(work, 8 * y, 1)];
    out[at + y * stride] = grey(descale(first + odd, BITS + PASS_1 + 5));
    out[at + y * stride + 1] = grey(descale(first - odd, BITS + PASS_1 + 5));
  }
}

/** @type {Transform} */
function eighth(block, out, at) {
  out[at] = grey(descale(block[0], 3));
}

/** @type {Record<number, Transform>} by the edge of the block that a transform writes. */
export const TRANSFORMS = { 8: whole, 4: half, 2: quarter, 1: eighth };
