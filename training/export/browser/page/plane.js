// A picture of one byte a pixel: grey values, or 0 and 1.

/** Grey values 0..255 in rows. Its methods copy. */
export class Plane {
  /**
   * @param {number} width
   * @param {number} height
   * @param {Uint8Array} data width * height bytes; by default zeros.
   */
  constructor(width, height, data = new Uint8Array(width * height)) {
    Object.assign(this, { width, height, data });
  }

  /** @returns {Plane} rows and columns swapped. */
  transposed() {
    const { width, height, data } = this;
    const turned = new Plane(height, width);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        turned.data[x * height + y] = data[y * width + x];
      }
    }
    return turned;
  }

  /** @returns {Plane} the last row first. */
  flipped() {
    const { width, height, data } = this;
    const flipped = new Plane(width, height);
    for (let y = 0; y < height; y++) {
      flipped.data.set(data.subarray(y * width, (y + 1) * width), (height - 1 - y) * width);
    }
    return flipped;
  }

  /** @returns {Plane} each row from right to left. */
  mirrored() {
    const { width, height, data } = this;
    const mirrored = new Plane(width, height, data.slice());
    for (let y = 0; y < height; y++) {
      mirrored.data.subarray(y * width, (y + 1) * width).reverse();
    }
    return mirrored;
  }

  /**
   * @param {number} left
   * @param {number} top
   * @param {number} right
   * @param {number} bottom
   * @returns {Plane} left <= x < right, top <= y < bottom.
   */
  cut(left, top, right, bottom) {
    const part = new Plane(right - left, bottom - top);
    for (let y = top; y < bottom; y++) {
      part.data.set(this.data.subarray(y * this.width + left, y * this.width + right), (y - top) * part.width);
    }
    return part;
  }

  /**
   * @param {ArrayLike<number>} table a value for each grey value.
   * @returns {Plane}
   */
  mapped(table) {
    return new Plane(this.width, this.height, this.data.map((value) => table[value]));
  }

  /** @returns {number[]} the sum of each row. */
  rowSums() {
    const sums = [];
    for (let y = 0; y < this.height; y++) {
      let sum = 0;
      for (let i = y * this.width; i < (y + 1) * this.width; i++) {
        sum += this.data[i];
      }
      sums.push(sum);
    }
    return sums;
  }

  /**
   * Turns a picture upright.
   *
   * @param {number} orientation of Exif, 1 to 8 (Exif 2.32, 4.6.4 A); others change nothing.
   * @returns {Plane}
   */
  upright(orientation) {
    switch (orientation) {
      case 2: return this.mirrored();
      case 3: return this.flipped().mirrored();
      case 4: return this.flipped();
      case 5: return this.transposed();
      case 6: return this.flipped().transposed();
      case 7: return this.flipped().mirrored().transposed();
      case 8: return this.transposed().flipped();
      default: return this;
    }
  }
}
