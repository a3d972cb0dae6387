// Decodes the brightness of a JPEG file as libjpeg-turbo does, and scales it down by 2, 4 or 8 on the way, as the worker
// does (worker/inference/decoding.py). What a browser decodes has the full size and, in colour, other roundings: scores then
// differ by up to 0.03. Baseline and progressive files with Huffman codes (ITU-T T.81).

import { TRANSFORMS } from "./idct.js";
import { checkScans, readHeader, segments } from "./jpeg_segments.js";
import { Plane } from "./plane.js";
import { notAsTheWorker, Rejected } from "./rejection.js";

const [DHT, EOI, SOS, DQT, DRI, RST0] = [0xc4, 0xd9, 0xda, 0xdb, 0xdd, 0xd0];
const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
);

/**
 * @param {Uint8Array} data a file.
 * @param {number} least it is scaled down by 8, 4 or 2 if both sides then still have so many pixels.
 * @returns {Plane} not yet upright.
 * @throws {Rejected}
 */
export function decodeJpeg(data, least) {
  checkScans(data);
  const { frame, isYcc } = readHeader(data);
  checkFrame(frame, isYcc);
  const scale = [8, 4, 2].find((each) => Math.floor(Math.min(frame.width, frame.height) / each) >= least) ?? 1;
  return new Decoder(data, frame, 8 / scale).decode();
}

function checkFrame({ width, height, components }, isYcc) {
  if (!width || !height) {
    throw new Rejected("undecodable", { detail: "its header is damaged" });
  }
  if (components.length === 4) {
    throw new Rejected("cmyk");
  }
  if (components.length !== 1 && (components.length !== 3 || !isYcc)) {
    throw notAsTheWorker("its colours are stored in an unusual way");
  }
  const [{ h, v }] = components;
  if (!components.every((each) => each.h >= 1 && each.h <= h && each.v >= 1 && each.v <= v) || h > 4 || v > 4) {
    throw notAsTheWorker("its colours are stored finer than its brightness");
  }
}

class Decoder {
  constructor(data, frame, edge) {
    const { width, height, components } = frame;
    // In a file of one component a block is a unit of its own, whatever the sampling says (A.2.2).
    const [h, v] = components.length === 1 ? [1, 1] : [components[0].h, components[0].v];
    const across = Math.ceil(width / (8 * h));
    const down = Math.ceil(height / (8 * v));
    Object.assign(this, { data, frame, edge, across, down, quantisation: [], codes: {}, restartInterval: 0 });
    this.components = components.map((component) => {
      const [ownH, ownV] = components.length === 1 ? [1, 1] : [component.h, component.v];
      return {
        ...component,
        h: ownH,
        v: ownV,
        stride: across * ownH,
        // The blocks that hold pixels: a scan of this component alone has no others.
        columns: Math.ceil((width * ownH) / (8 * h)),
        rows: Math.ceil((height * ownV) / (8 * v)),
        prediction: 0,
      };
    });
    const [brightness] = this.components;
    this.pixels = new Plane(edge * brightness.stride, edge * down * v);
    this.blocks = frame.progressive ? new Int16Array(64 * brightness.stride * down * v) : null;
    this.block = new Int32Array(64);
    this.factors = null;
  }

  decode() {
    let hasEnd = false;
    let next = 2;
    for (const { marker, start, body, end } of segments(this.data)) {
      if (start < next) {
        continue;
      }
      if (start > next && this.data.subarray(next, start).some((byte) => byte !== 0xff)) {
        throw new Rejected("damaged");
      }
      next = end;
      const content = this.data.subarray(body, end);
      if (marker === DQT) {
        this.readQuantisation(content);
      } else if (marker === DHT) {
        this.readCodes(content);
      } else if (marker === DRI) {
        this.restartInterval = (content[0] << 8) | content[1];
      } else if (marker === SOS) {
        next = this.readScan(content, end);
      } else if (marker === EOI) {
        hasEnd = true;
        break;
      }
    }
    if (!hasEnd) {
      throw new Rejected("truncated");
    }
    if (this.blocks) {
      this.transformAll();
    }
    const { width, height } = this.frame;
    return this.pixels.cut(0, 0, Math.ceil((width * this.edge) / 8), Math.ceil((height * this.edge) / 8));
  }

  readQuantisation(content) {
    for (let at = 0; at < content.length;) {
      const [isWide, id] = [content[at] >> 4, content[at] & 15];
      const table = new Int32Array(64);
      at++;
      for (let k = 0; k < 64; k++) {
        table[ZIGZAG[k]] = isWide ? (content[at] << 8) | content[at + 1] : content[at];
        at += isWide ? 2 : 1;
      }
      this.quantisation[id] = table;
    }
  }

  // Tables of all codes of up to 16 bits: length and value by the next 16 bits of the file.
  readCodes(content) {
    for (let at = 0; at + 17 <= content.length;) {
      const counts = content.subarray(at + 1, at + 17);
      const table = new Uint16Array(1 << 16);
      let [code, value] = [0, at + 17];
      for (let length = 1; length <= 16; length++) {
        for (let i = 0; i < counts[length - 1]; i++) {
          const from = code << (16 - length);
          table.fill((length << 8) | content[value++], from, from + (1 << (16 - length)));
          code++;
        }
        code <<= 1;
      }
      this.codes[content[at]] = table;
      at = value;
    }
  }

  readScan(content, start) {
    const count = content[0];
    const parts = Array.from({ length: count }, (_, i) => {
      const component = this.components.find(({ id }) => id === content[1 + 2 * i]);
      const tables = content[2 + 2 * i];
      if (!component) {
        throw new Rejected("damaged");
      }
      return { component, dc: this.codes[tables >> 4], ac: this.codes[0x10 | (tables & 15)] };
    });
    const [first, last, bits] = content.subarray(1 + 2 * count, 4 + 2 * count);
    const scan = new Scan(this.data, start, { first, last, high: bits >> 4, low: bits & 15 });
    const hasBrightness = parts.some(({ component }) => component === this.components[0]);
    if (this.frame.progressive && first > 0 && !hasBrightness) {
      // Later scans of the colours build on earlier ones, and nothing here needs them.
      return nextMarker(this.data, start);
    }
    if (hasBrightness && first === 0) {
      this.factors = this.quantisation[this.components[0].table]?.slice() ?? null;
    }
    if (!this.factors) {
      throw new Rejected("damaged");
    }
    this.components.forEach((component) => { component.prediction = 0; });
    let left = this.restartInterval || Infinity;
    let restarts = 0;
    for (const unit of this.units(parts)) {
      if (left === 0) {
        scan.restart(restarts++ % 8);
        this.components.forEach((component) => { component.prediction = 0; });
        left = this.restartInterval;
      }
      left--;
      for (const [part, index] of unit) {
        this.readBlock(scan, part, index);
      }
    }
    return scan.end();
  }

  // The blocks of each unit of a scan, with the part of the scan that they belong to (A.2).
  * units(parts) {
    const unit = [];
    if (parts.length === 1) {
      const [part] = parts;
      const { columns, rows, stride } = part.component;
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          unit[0] = [part, y * stride + x];
          yield unit;
        }
      }
      return;
    }
    for (let y = 0; y < this.down; y++) {
      for (let x = 0; x < this.across; x++) {
        unit.length = 0;
        for (const part of parts) {
          const { h, v, stride } = part.component;
          for (let i = 0; i < h * v; i++) {
            unit.push([part, (y * v + Math.floor(i / h)) * stride + x * h + (i % h)]);
          }
        }
        yield unit;
      }
    }
  }

  readBlock(scan, { component, dc, ac }, index) {
    const isBrightness = component === this.components[0];
    if (!this.frame.progressive) {
      this.block.fill(0);
      scan.baseline(this.block, component, dc, ac);
      if (isBrightness) {
        this.transform(this.block, index);
      }
    } else {
      const at = isBrightness ? 64 * index : -1;
      scan.progressive(this.blocks, at, component, dc, ac);
    }
  }

  transformAll() {
    for (let index = 0; index < this.blocks.length / 64; index++) {
      this.block.set(this.blocks.subarray(64 * index, 64 * index + 64));
      this.transform(this.block, index);
    }
  }

  // `block` is in the order of the file.
  transform(block, index) {
    const { stride } = this.components[0];
    const ordered = ORDERED;
    for (let k = 0; k < 64; k++) {
      const place = ZIGZAG[k];
      ordered[place] = block[k] * this.factors[place];
    }
    const at = this.edge * (Math.floor(index / stride) * this.pixels.width + (index % stride));
    TRANSFORMS[this.edge](ordered, this.pixels.data, at, this.pixels.width);
  }
}

const ORDERED = new Int32Array(64);

function nextMarker(data, start) {
  for (let at = start; at + 1 < data.length; at++) {
    if (data[at] === 0xff && data[at + 1] !== 0 && (data[at + 1] < RST0 || data[at + 1] > RST0 + 7) && data[at + 1] !== 0xff) {
      return at;
    }
  }
  throw new Rejected("truncated");
}

// The compressed bits of one scan.
class Scan {
  constructor(data, start, { first, last, high, low }) {
    Object.assign(this, { data, at: start, first, last, high, low, bits: 0, count: 0, run: 0 });
  }

  // Makes at least `count` bits available, up to 16; after the data, zeros that must not be used.
  fill(count) {
    while (this.count < count) {
      let byte = this.data[this.at];
      if (byte === 0xff) {
        if (this.data[this.at + 1] !== 0) {
          byte = -1;
        } else {
          this.at += 2;
        }
      } else if (byte !== undefined) {
        this.at++;
      } else {
        byte = -1;
      }
      if (byte < 0) {
        this.short(count);
        byte = 0;
        this.borrowed = (this.borrowed ?? 0) + 8;
      }
      this.bits = ((this.bits << 8) | byte) & 0xffffff;
      this.count += 8;
    }
  }

  // Bits beyond the data may be looked at, to find a code, but not taken.
  take(count) {
    this.count -= count;
    if (this.count < (this.borrowed ?? 0)) {
      throw new Rejected(this.at >= this.data.length - 1 ? "truncated" : "damaged");
    }
  }

  short() {
    if ((this.borrowed ?? 0) > 64) {
      throw new Rejected("damaged");
    }
  }

  receive(count) {
    if (count === 0) {
      return 0;
    }
    this.fill(count);
    const value = (this.bits >> (this.count - count)) & ((1 << count) - 1);
    this.take(count);
    return value;
  }

  code(table) {
    if (!table) {
      throw new Rejected("damaged");
    }
    this.fill(16);
    const entry = table[(this.bits >> (this.count - 16)) & 0xffff];
    if (entry === 0) {
      throw new Rejected("damaged");
    }
    this.take(entry >> 8);
    return entry & 0xff;
  }

  // A value of `size` bits with its sign (F.2.2.1).
  signed(size) {
    const value = this.receive(size);
    return size && value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
  }

  restart(number) {
    this.skipRest();
    if (this.at + 1 >= this.data.length) {
      throw new Rejected("truncated");
    }
    if (this.data[this.at] !== 0xff || this.data[this.at + 1] !== RST0 + number) {
      throw new Rejected("damaged");
    }
    this.at += 2;
    this.run = 0;
  }

  // Drops the bits that fill the last byte.
  skipRest() {
    const unread = Math.floor((this.count - (this.borrowed ?? 0)) / 8);
    if (unread > 0) {
      throw new Rejected("damaged");
    }
    Object.assign(this, { bits: 0, count: 0, borrowed: 0 });
    while (this.data[this.at] === 0xff && this.data[this.at + 1] === 0xff) {
      this.at++;
    }
  }

  end() {
    this.skipRest();
    return this.at;
  }

  baseline(block, component, dc, ac) {
    component.prediction += this.signed(this.code(dc));
    block[0] = component.prediction;
    for (let k = 1; k < 64; k++) {
      const symbol = this.code(ac);
      const [zeros, size] = [symbol >> 4, symbol & 15];
      if (size) {
        k += zeros;
        const value = this.signed(size);
        if (k < 64) {
          block[k] = value;
        }
      } else if (zeros === 15) {
        k += 15;
      } else {
        break;
      }
    }
  }

  // `at` is where the block begins in `blocks`, or -1: its values are not needed.
  progressive(blocks, at, component, dc, ac) {
    if (this.first === 0) {
      this.progressiveDc(blocks, at, component, dc);
    } else if (this.high === 0) {
      this.firstAc(blocks, at, ac);
    } else {
      this.refineAc(blocks, at, ac);
    }
  }

  progressiveDc(blocks, at, component, dc) {
    if (this.high === 0) {
      component.prediction += this.signed(this.code(dc));
      if (at >= 0) {
        blocks[at] = component.prediction << this.low;
      }
    } else {
      const bit = this.receive(1);
      if (at >= 0) {
        blocks[at] |= bit << this.low;
      }
    }
  }

  firstAc(blocks, at, ac) {
    if (this.run > 0) {
      this.run--;
      return;
    }
    for (let k = this.first; k <= this.last; k++) {
      const symbol = this.code(ac);
      const [zeros, size] = [symbol >> 4, symbol & 15];
      if (size) {
        k += zeros;
        const value = this.signed(size);
        if (k < 64) {
          blocks[at + k] = value * (1 << this.low);
        }
      } else if (zeros === 15) {
        k += 15;
      } else {
        this.run = (1 << zeros) + this.receive(zeros) - 1;
        break;
      }
    }
  }

  refineAc(blocks, at, ac) {
    const step = 1 << this.low;
    let k = this.first;
    if (this.run === 0) {
      for (; k <= this.last; k++) {
        const symbol = this.code(ac);
        let zeros = symbol >> 4;
        let value = 0;
        if (symbol & 15) {
          value = this.receive(1) ? step : -step;
        } else if (zeros < 15) {
          this.run = (1 << zeros) + this.receive(zeros);
          break;
        }
        for (; k <= this.last; k++) {
          if (blocks[at + k] !== 0) {
            this.refine(blocks, at + k, step);
          } else if (zeros-- === 0) {
            break;
          }
        }
        if (value && k < 64) {
          blocks[at + k] = value;
        }
      }
    }
    if (this.run > 0) {
      for (; k <= this.last; k++) {
        if (blocks[at + k] !== 0) {
          this.refine(blocks, at + k, step);
        }
      }
      this.run--;
    }
  }

  refine(blocks, place, step) {
    if (this.receive(1) && (blocks[place] & step) === 0) {
      blocks[place] += blocks[place] >= 0 ? step : -step;
    }
  }
}
