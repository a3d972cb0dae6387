// Decodes a PNG file to grey as Pillow does (PNG, third edition): every colour type and depth that the worker scores.

import { round } from "./numbers.js";
import { latin1, orientationOfExif, orientationOfXmp } from "./orientation.js";
import { Plane } from "./plane.js";
import { notAsTheWorker, Rejected } from "./rejection.js";

const START = 8;
const MOST_PARTS = 500;
const MOST_PIECES = 65536;
const [GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA] = [0, 2, 3, 4, 6];
const DAMAGED_HEADER = "its header is damaged";
const SAMPLES = { [GREY]: 1, [RGB]: 3, [PALETTE]: 1, [GREY_ALPHA]: 2, [RGB_ALPHA]: 4 };
const DEPTHS = { [GREY]: [1, 2, 4, 8, 16], [RGB]: [8, 16], [PALETTE]: [1, 2, 4, 8], [GREY_ALPHA]: [8, 16], [RGB_ALPHA]: [8, 16] };
// First column and row, and steps, of the seven passes of an interlaced file (8.2).
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) {
    c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  }
  return c;
});

/** @typedef {{ width: number, height: number, depth: number, colour: number, interlaced: boolean }} PngHeader */
/** @typedef {{ kind: string, content: Uint8Array }} Chunk */
/** @typedef {{ header: PngHeader, orientation: number | null, chunks: Chunk[], fault: Rejected | null }} Png */

/**
 * @param {Uint8Array} data
 * @returns {Png} its chunks before the end; nothing is decoded. `fault` says what is wrong behind the header.
 */
export function readPng(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const chunks = [];
  let [parts, pieces, at, hasEnd, fault] = [0, 0, START, false, null];
  while (at + 12 <= data.length && !hasEnd && fault === null) {
    const [length, kind] = [view.getUint32(at), latin1(data.subarray(at + 4, at + 8))];
    const end = at + 8 + length;
    if (end + 4 > data.length) {
      break;
    }
    if (crc(data.subarray(at + 4, end)) !== view.getUint32(end)) {
      fault = new Rejected("undecodable", { detail: `the checksum of its chunk ${kind} is wrong` });
    }
    hasEnd = kind === "IEND";
    chunks.push({ kind, content: data.subarray(at + 8, end) });
    [parts, pieces] = kind === "IDAT" ? [parts, pieces + 1] : [parts + (hasEnd ? 0 : 1), pieces];
    if (parts > MOST_PARTS || pieces > MOST_PIECES) {
      throw new Rejected("too_many_parts");
    }
    at = end + 4;
  }
  if (!hasEnd) {
    fault ??= new Rejected("truncated");
  }
  if (!chunks.length || (fault && chunks.length === 1)) {
    throw new Rejected("undecodable", { detail: DAMAGED_HEADER });
  }
  return { header: readHeader(chunks), orientation: orientationOf(chunks), chunks, fault };
}

function crc(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) {
    c = CRC[(c ^ byte) & 0xff] ^ (c >>> 8);
  }
  return (c ^ 0xffffffff) >>> 0;
}

function readHeader(chunks) {
  const [{ kind, content }] = chunks;
  if (kind !== "IHDR" || content.length < 13) {
    throw new Rejected("undecodable", { detail: DAMAGED_HEADER });
  }
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const header = {
    width: view.getUint32(0), height: view.getUint32(4), depth: content[8], colour: content[9], interlaced: content[12] === 1,
  };
  if (!DEPTHS[header.colour]?.includes(header.depth) || !header.width || !header.height) {
    throw new Rejected("undecodable", { detail: DAMAGED_HEADER });
  }
  return header;
}

/**
 * Rejects what a PNG file can have and the worker does not score.
 *
 * @param {Png} png
 */
export function checkPng({ header, chunks }) {
  if (header.depth === 16 && header.colour !== GREY) {
    throw new Rejected("sixteen_bit");
  }
  const control = chunks.find((chunk) => chunk.kind === "acTL")?.content;
  const frames = control ? new DataView(control.buffer, control.byteOffset).getUint32(0) : 1;
  if (frames > 1) {
    throw new Rejected("animated", { frames });
  }
}

function orientationOf(chunks) {
  let [exif, xmp] = [null, null];
  for (const { kind, content } of chunks) {
    const text = kind.endsWith("Xt") ? latin1(content.subarray(0, 80)) : "";
    if (kind === "eXIf") {
      exif = orientationOfExif(content);
    } else if (text.startsWith("Raw profile type") || (text.startsWith("XML:com.adobe.xmp\0") && content[18] !== 0)) {
      throw notAsTheWorker("its header is stored in an unusual way");
    } else if (text.startsWith("XML:com.adobe.xmp\0")) {
      xmp = orientationOfXmp(content);
    }
  }
  return exif ?? xmp;
}

/**
 * @param {Png} png
 * @returns {Promise<Plane>} not yet upright.
 * @throws {Rejected} `transparent`, `truncated` or `undecodable`.
 */
export async function decodePng({ header, chunks, fault }) {
  if (fault) {
    throw fault;
  }
  const contentOf = (kind) => chunks.find((chunk) => chunk.kind === kind)?.content;
  const samples = samplesOf(header, await inflated(chunks.filter(({ kind }) => kind === "IDAT").map(({ content }) => content)));
  return toGrey(header, samples, contentOf("PLTE"), contentOf("tRNS"));
}

async function inflated(pieces) {
  try {
    const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Rejected("undecodable", { detail: "its picture is damaged" });
  }
}

// All samples of the picture, pixel by pixel.
function samplesOf({ width, height, depth, colour, interlaced }, bytes) {
  const count = SAMPLES[colour];
  const samples = depth === 16 ? new Uint16Array(width * height) : new Uint8Array(width * height * count);
  const passes = interlaced ? PASSES : [[0, 0, 1, 1]];
  let at = 0;
  for (const [left, top, stepX, stepY] of passes) {
    const [across, down] = [Math.ceil((width - left) / stepX), Math.ceil((height - top) / stepY)];
    if (across <= 0 || down <= 0) {
      continue;
    }
    const stride = Math.ceil((across * count * depth) / 8);
    const pixelBytes = Math.max(1, (count * depth) / 8);
    let above = new Uint8Array(stride);
    for (let y = 0; y < down; y++) {
      if (at + 1 + stride > bytes.length) {
        throw new Rejected("truncated");
      }
      const row = bytes.subarray(at + 1, at + 1 + stride);
      unfilter(bytes[at], row, above, pixelBytes);
      const start = (top + y * stepY) * width + left;
      for (let x = 0; x < across; x++) {
        for (let i = 0; i < count; i++) {
          samples[(start + x * stepX) * count + i] = sampleAt(row, x * count + i, depth);
        }
      }
      above = row;
      at += 1 + stride;
    }
  }
  return samples;
}

function sampleAt(row, index, depth) {
  if (depth === 8) {
    return row[index];
  }
  if (depth === 16) {
    return (row[2 * index] << 8) | row[2 * index + 1];
  }
  const bit = index * depth;
  return (row[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

function unfilter(kind, row, above, pixelBytes) {
  if (kind > 4) {
    throw new Rejected("undecodable", { detail: "its picture is damaged" });
  }
  for (let i = kind === 0 ? row.length : 0; i < row.length; i++) {
    const left = i >= pixelBytes ? row[i - pixelBytes] : 0;
    const up = above[i];
    if (kind === 1) {
      row[i] += left;
    } else if (kind === 2) {
      row[i] += up;
    } else if (kind === 3) {
      row[i] += (left + up) >> 1;
    } else {
      row[i] += paeth(left, up, i >= pixelBytes ? above[i - pixelBytes] : 0);
    }
  }
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

// ITU-R BT.601 in integers, as Pillow.
const greyOf = (red, green, blue) => (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;

function toGrey({ width, height, depth, colour }, samples, palette, transparency) {
  if (transparency && colour === GREY && depth < 8) {
    throw notAsTheWorker("it has few grey values, one of them transparent");
  }
  if (depth === 16) {
    return eightBits(width, height, samples, transparency);
  }
  const count = SAMPLES[colour];
  const grey = new Plane(width, height);
  const full = 255 / ((1 << depth) - 1);
  const clear = transparency && colour !== PALETTE ? colourOf(transparency) : null;
  for (let i = 0; i < grey.data.length; i++) {
    const at = i * count;
    const value = samples[at];
    if (colour === PALETTE) {
      grey.data[i] = greyOf(palette?.[3 * value] ?? 0, palette?.[3 * value + 1] ?? 0, palette?.[3 * value + 2] ?? 0);
    } else if (count >= 3) {
      grey.data[i] = greyOf(value, samples[at + 1], samples[at + 2]);
    } else {
      grey.data[i] = value * full;
    }
    const alpha = colour === PALETTE ? transparency?.[value] ?? 255 : count % 2 ? 255 : samples[at + count - 1];
    if (alpha !== 255 || (clear && clear.every((level, sample) => level === samples[at + sample]))) {
      throw new Rejected("transparent");
    }
  }
  return grey;
}

// The colour that tRNS calls transparent, one number a sample.
const colourOf = (content) => Array.from({ length: content.length / 2 }, (_, i) => (content[2 * i] << 8) | content[2 * i + 1]);

const TAIL = 0.005;
const MARGIN = 0.05;

// Maps 16 bits to 8 by the range that matters, as worker/imagefile/grey_range.py.
function eightBits(width, height, values, transparency) {
  if (transparency && values.includes(colourOf(transparency)[0])) {
    throw new Rejected("transparent");
  }
  const [low, high] = robustRange(values);
  const factor = 255 / Math.max(1, high - low);
  const table = Uint8Array.from({ length: 65536 }, (_, value) =>
    (value <= low ? 0 : value >= high ? 255 : round((value - low) * factor)));
  return new Plane(width, height, Uint8Array.from(values, (value) => table[value]));
}

function robustRange(values) {
  const counts = new Float64Array(65536);
  for (const value of values) {
    counts[value]++;
  }
  const first = counts.findIndex(Boolean);
  const last = counts.findLastIndex(Boolean);
  counts[first] = 0;
  counts[last] = 0;
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) {
    return [first, last];
  }
  const reaching = (share) => {
    let sum = 0;
    return counts.findIndex((count) => (sum += count) / total >= share);
  };
  const [low, high] = [reaching(TAIL), reaching(1 - TAIL)];
  const margin = round(MARGIN * (high - low));
  return [Math.max(first, low - margin), Math.min(last, high + margin)];
}
