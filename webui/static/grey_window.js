// Window and level over the values of the original, which have 12 to 16 bits.

const WHITE = 65535;

// `grey` is what the grey scale is made of: see `GreyFacts` in worker/dicom/facts.py. The picture is an <img> in the
// default grey scale. A canvas over it shows every other window.
export class GreyWindow {
  constructor(canvas, grey) {
    this.canvas = canvas;
    this.grey = grey;
    this.range = Math.max(grey.highest - grey.lowest, 1e-9);
    this.level = document.getElementById("level");
    this.width = document.getElementById("width");
    this.text = document.getElementById("window-shown");
    this.defaultText = this.text.textContent;
    this.setUpSliders();
  }

  setUpSliders() {
    const { lowest, highest, voi_low: low, voi_high: high } = this.grey;
    const step = this.range > 64 ? 1 : this.range / 256;
    this.start = { level: (low + high) / 2, width: Math.max(high - low, step) };
    this.limit(this.level, Math.min(lowest, this.start.level), Math.max(highest, this.start.level));
    this.limit(this.width, step, Math.max(this.range, this.start.width));
  }

  limit(slider, min, max) {
    Object.assign(slider, { min, max, step: "any", disabled: false });
    slider.addEventListener("input", () => this.show());
  }

  reset() {
    this.changed = false;
    this.level.value = this.start.level;
    this.width.value = this.start.width;
    this.canvas.hidden = true;
    this.text.textContent = this.defaultText;
  }

  // Up is brighter and right is more contrast, as for a picture of 8 bits.
  drag(across, down) {
    const darker = this.grey.inverted ? -down : down;
    this.level.value = Number(this.level.value) + darker * this.range / 400;
    this.width.value = Number(this.width.value) - across * this.range / 400;
    this.show();
  }

  show() {
    this.changed = true;
    this.text.textContent = `Window ${this.written(this.level)} / ${this.written(this.width)} (level / width), set here.`;
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  written(slider) {
    return Number(slider.value).toFixed(this.range > 64 ? 0 : 3);
  }

  async draw() {
    try {
      this.codes ??= await this.load();
      this.paint();
      this.canvas.hidden = !this.changed;
    } catch {
      this.text.textContent = "The values of the original cannot be loaded, so the window cannot be changed.";
    } finally {
      this.frame = null;
    }
  }

  // Red holds the upper 8 bits of each code, green the lower 8.
  async load() {
    const answer = await fetch(this.canvas.dataset.values);
    if (!answer.ok) {
      throw new Error(answer.statusText);
    }
    const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.context = this.canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.pixels = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    const { data } = this.pixels;
    return Uint16Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] * 256 + data[4 * i + 1]);
  }

  paint() {
    const table = this.table();
    const out = new Uint32Array(this.pixels.data.buffer);
    for (let i = 0; i < out.length; i += 1) {
      out[i] = table[this.codes[i]];
    }
    this.context.putImageData(this.pixels, 0, 0);
  }

  // The pixel of each code: opaque and grey.
  table() {
    const level = Number(this.level.value);
    const width = Math.max(Number(this.width.value), 1e-9);
    const pixels = new Uint32Array(WHITE + 1);
    for (let code = 0; code <= WHITE; code += 1) {
      const value = this.grey.lowest + this.range * code / WHITE;
      const share = Math.min(1, Math.max(0, (value - level) / width + 0.5));
      const grey = Math.round(255 * (this.grey.inverted ? 1 - share : share));
      pixels[code] = 0xff000000 | grey << 16 | grey << 8 | grey;
    }
    return pixels;
  }
}
