// A file: what it is, whether it is within the limits, and its grey values.

import { decodeJpeg } from "./jpeg.js";
import { checkParts, readHeader } from "./jpeg_segments.js";
import { latin1 } from "./orientation.js";
import { Plane } from "./plane.js";
import { checkPng, decodePng, readPng } from "./png.js";
import { Rejected } from "./rejection.js";

const PNG_START = "\x89PNG\r\n\x1a\n";
const JPEG_START = "\xff\xd8\xff";
const OTHER_FORMATS = [
  ["GIF8", "GIF"], ["II*\0", "TIFF"], ["MM\0*", "TIFF"], ["BM", "BMP"], ["%PDF", "PDF"],
  ["\0\0\0\x0cjP  ", "JPEG 2000"], ["\xff\x4f\xff\x51", "JPEG 2000"], ["PK\x03\x04", "ZIP"],
];

// The defaults of the settings NIGHTREAD_MAX_BYTES, NIGHTREAD_MAX_PIXELS and NIGHTREAD_MIN_SIDE.
export const LIMITS = { max_bytes: 64 * 1024 ** 2, max_pixels: 100_000_000, min_side: 64 };

/** A JPEG or PNG file within the LIMITS. `width` and `height` are those of the upright original. */
export class Picture {
  /**
   * @param {Uint8Array} data
   * @throws {Rejected}
   */
  constructor(data) {
    checkKind(data);
    this.data = data;
    this.png = latin1(data.subarray(0, 8)) === PNG_START ? readPng(data) : null;
    if (!this.png) {
      checkParts(data);
    }
    const { header, orientation } = this.png ?? headerOfJpeg(data);
    checkSize(header);
    if (this.png) {
      checkPng(this.png);
    }
    this.orientation = orientation;
    const isTurned = [5, 6, 7, 8].includes(orientation);
    [this.width, this.height] = isTurned ? [header.height, header.width] : [header.width, header.height];
  }

  /**
   * @param {number} least a JPEG may be scaled down to no less than so many pixels on each side.
   * @returns {Promise<Plane>} grey values, upright.
   */
  async decode(least) {
    if (this.png) {
      this.decoded ??= (await decodePng(this.png)).upright(this.orientation);
      return this.decoded;
    }
    return decodeJpeg(this.data, least).upright(this.orientation);
  }
}

function headerOfJpeg(data) {
  const { frame, orientation } = readHeader(data);
  return { header: frame, orientation };
}

function checkKind(data) {
  if (!data.length) {
    throw new Rejected("empty");
  }
  if (data.length > LIMITS.max_bytes) {
    throw new Rejected("too_many_bytes", { bytes: data.length, limit: LIMITS.max_bytes });
  }
  const start = latin1(data.subarray(0, 12));
  if (start.startsWith(JPEG_START) || start.startsWith(PNG_START)) {
    return;
  }
  if (latin1(data.subarray(128, 132)) === "DICM") {
    throw new Rejected("dicom_here");
  }
  const other = OTHER_FORMATS.find(([magic]) => start.startsWith(magic));
  if (other || (start.startsWith("RIFF") && start.endsWith("WEBP"))) {
    throw new Rejected("unsupported_format", { format: other ? other[1] : "WebP" });
  }
  throw new Rejected("not_an_image");
}

function checkSize({ width, height }) {
  if (width * height > LIMITS.max_pixels) {
    throw new Rejected("too_many_pixels", { width, height, limit: LIMITS.max_pixels });
  }
  if (Math.min(width, height) < LIMITS.min_side) {
    throw new Rejected("too_small", { width, height, limit: LIMITS.min_side });
  }
}
