// The segments of a JPEG file, as worker/imagefile/parts.py, limits.py, jpeg_frame.py and scans.py read them.

import { latin1, orientationOfExif, orientationOfXmp } from "./orientation.js";
import { Rejected } from "./rejection.js";

const MOST_PARTS = 500;
const LONGEST_HEADER = 4 * 1024 ** 2;
const MOST_SCANS = 100;
const MOST_SEGMENTS = 10000;
const [SOF0, SOF1, SOF2, EOI, SOS, APP0, APP1, APP14] = [0xc0, 0xc1, 0xc2, 0xd9, 0xda, 0xe0, 0xe1, 0xee];
const UNREADABLE = {
  0xc3: "lossless JPEG", 0xc5: "hierarchical JPEG", 0xc6: "hierarchical JPEG", 0xc7: "hierarchical JPEG",
  0xcd: "hierarchical JPEG", 0xce: "hierarchical JPEG", 0xcf: "hierarchical JPEG", 0xc9: "arithmetic-coded JPEG",
  0xca: "arithmetic-coded JPEG", 0xcb: "arithmetic-coded JPEG", 0xf7: "JPEG-LS",
};

const hasNoLength = (marker) => marker === 0x01 || marker === 0xc8 || marker === 0xd8 || marker === EOI || (marker >= 0xf0 && marker < 0xfe);
const isData = (byte) => byte === 0x00 || (byte >= 0xd0 && byte <= 0xd7) || byte === 0xff;

/** @typedef {{ marker: number, start: number, body: number, end: number }} Segment `start` is that of the marker. */

/**
 * @param {Uint8Array} data
 * @returns {Generator<Segment>} the marker segments of a file; those after the first scan as well.
 */
export function* segments(data) {
  let end = 2;
  for (;;) {
    let start = data.indexOf(0xff, end);
    while (start >= 0 && start + 1 < data.length && isData(data[start + 1])) {
      start = data.indexOf(0xff, start + (data[start + 1] === 0xff ? 1 : 2));
    }
    if (start < 0 || start + 1 >= data.length) {
      return;
    }
    const marker = data[start + 1];
    const body = start + 2;
    end = hasNoLength(marker) ? body : body + ((data[body] << 8) | data[body + 1]);
    yield { marker, start, body: body + 2, end };
  }
}

/** Rejects kinds of JPEG that are not read, and more parts than a radiograph has. @param {Uint8Array} data */
export function checkParts(data) {
  let [parts, lastEnd] = [0, 2];
  for (const { marker, start, body, end } of segments(data)) {
    parts += start - lastEnd + 1;
    if (parts > MOST_PARTS || start > LONGEST_HEADER) {
      throw new Rejected("too_many_parts");
    }
    if (marker in UNREADABLE) {
      throw new Rejected("unsupported_jpeg", { kind: UNREADABLE[marker] });
    }
    if ([SOF0, SOF1, SOF2].includes(marker) && data[body] !== 8) {
      throw new Rejected("unsupported_jpeg", { kind: `${data[body]}-bit JPEG` });
    }
    if (marker === SOS || (marker >= 0x02 && marker < 0xc0)) {
      return;
    }
    lastEnd = end;
  }
}

/**
 * @typedef {object} Frame
 * @property {boolean} progressive
 * @property {number} width
 * @property {number} height
 * @property {{ id: number, h: number, v: number, table: number }[]} components
 */

/**
 * @typedef {object} Header
 * @property {Frame} frame
 * @property {number | null} orientation 1 to 8
 * @property {boolean} isYcc whether three components are brightness and two colours, as libjpeg tells.
 */

/**
 * @param {Uint8Array} data
 * @returns {Header} what stands before the first scan.
 */
export function readHeader(data) {
  let [frame, exif, xmp, hasJfif, adobe] = [null, null, null, false, null];
  for (const { marker, body, end } of segments(data)) {
    const content = data.subarray(body, end);
    if ([SOF0, SOF1, SOF2].includes(marker)) {
      frame = readFrame(marker, content);
    } else if (marker === APP0) {
      hasJfif ||= latin1(content.subarray(0, 5)) === "JFIF\0";
    } else if (marker === APP1 && exif === null && latin1(content.subarray(0, 6)) === "Exif\0\0") {
      exif = orientationOfExif(content);
    } else if (marker === APP1 && latin1(content.subarray(0, 29)) === "http://ns.adobe.com/xap/1.0/\0") {
      xmp = orientationOfXmp(content);
    } else if (marker === APP14 && latin1(content.subarray(0, 5)) === "Adobe") {
      adobe = content[11];
    } else if (marker === SOS) {
      break;
    }
  }
  if (frame === null) {
    throw new Rejected("undecodable", { detail: "its header is damaged" });
  }
  return { frame, orientation: exif ?? xmp, isYcc: isYcc(frame, hasJfif, adobe) };
}

function readFrame(marker, content) {
  const components = [];
  for (let i = 0; i < content[5]; i++) {
    const [id, sampling, table] = content.subarray(6 + 3 * i, 9 + 3 * i);
    components.push({ id, h: sampling >> 4, v: sampling & 15, table });
  }
  const [height, width] = [(content[1] << 8) | content[2], (content[3] << 8) | content[4]];
  return { progressive: marker === SOF2, width, height, components };
}

// As libjpeg decides (jdapimin.c, default_decompress_parms).
function isYcc({ components }, hasJfif, adobe) {
  if (hasJfif || (adobe !== null && adobe !== 0)) {
    return true;
  }
  return adobe === null && components.map(({ id }) => id).join() !== "82,71,66";
}

/**
 * Rejects a file whose many scans would take minutes, and a progressive file that has lost a scan.
 *
 * @param {Uint8Array} data
 */
export function checkScans(data) {
  let [scans, number] = [0, 0];
  const missing = new Map();
  for (const { marker, body } of segments(data)) {
    if (marker === EOI) {
      break;
    }
    if (marker === SOF2) {
      missing.clear();
      for (let i = 0; i < data[body + 5]; i++) {
        missing.set(data[body + 6 + 3 * i], new Array(64).fill(true));
      }
    } else if (marker === SOS) {
      scans++;
      noteScan(data, body, missing);
    }
    if (scans > MOST_SCANS || number++ === MOST_SEGMENTS) {
      throw new Rejected("too_many_scans", { limit: MOST_SCANS });
    }
  }
  if ([...missing.values()].flat().some(Boolean)) {
    throw new Rejected("damaged");
  }
}

function noteScan(data, body, missing) {
  const count = data[body];
  const [first, last, bits] = data.subarray(body + 1 + 2 * count, body + 4 + 2 * count);
  for (let i = 0; i < count; i++) {
    // The lower half of `bits` is the lowest bit that this scan gives (ITU-T T.81, B.2.3, Al).
    if ((bits & 15) === 0) {
      missing.get(data[body + 1 + 2 * i])?.fill(false, first, last + 1);
    }
  }
}
