// Window and level of the X-ray image. An image with more than 8 bits has them over all values of its original.

const WHITE = 65535;

// Each preset as shares of the range that is shown as sent: its darkest and its brightest value.
const PRESETS = {
  sent: [0, 1],
  lungs: [0, 0.6],
  mediastinum: [0.4, 1],
};

// What a picture of 8 bits holds.
const EIGHT_BITS = { lowest: 0, highest: 255, voi_low: 0, voi_high: 255, inverted: false };

function drawn(canvas, source) {
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  Object.assign(canvas, { width: source.naturalWidth ?? source.width, height: source.naturalHeight ?? source.height });
  context.drawImage(source, 0, 0);
  return { context, pixels: context.getImageData(0, 0, canvas.width, canvas.height) };
}

// Loads the codes of a picture of 8 bits from its <img>.
async function codesOfPicture(canvas, picture) {
  const { context, pixels } = drawn(canvas, picture);
  const { data } = pixels;
  return { context, pixels, codes: Uint16Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] * 257) };
}

// Loads the codes of the original: red holds the upper 8 bits of each code, green the lower 8.
async function codesOfValues(canvas) {
  const answer = await fetch(canvas.dataset.values);
  if (!answer.ok) {
    throw new Error(answer.statusText);
  }
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { context, pixels } = drawn(canvas, bitmap);
  bitmap.close();
  const { data } = pixels;
  return { context, pixels, codes: Uint16Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] * 256 + data[4 * i + 1]) };
}

// Returns what a window needs to know of an image, and the sentence to show about it; null if the server does not say.
export async function greyScaleOf(canvas, picture) {
  if (!canvas.dataset.grey) {
    return { grey: EIGHT_BITS, text: "", load: () => codesOfPicture(canvas, picture) };
  }
  const answer = await fetch(canvas.dataset.grey).catch(() => null);
  return answer?.ok ? { ...await answer.json(), load: codesOfValues } : null;
}

// `grey` is what the grey scale is made of: see `GreyFacts` in worker/dicom/facts.py. The picture is an <img> as it was
// sent. A canvas over it shows every other window. `load` gives the codes, `settings` keep the
// window, and `find` returns a control by its name.
export class GreyWindow {
  constructor(canvas, grey, load, settings, find = (name) => document.getElementById(name)) {
    Object.assign(this, { canvas, grey, load, settings });
    this.range = Math.max(grey.highest - grey.lowest, 1e-9);
    this.level = find("level");
    this.width = find("width");
    this.preset = find("preset");
    this.text = find("window-shown");
    this.defaultText = this.text.textContent;
    this.setUpControls();
    this.restore();
  }

  setUpControls() {
    const { lowest, highest, voi_low: low, voi_high: high } = this.grey;
    this.step = this.range > 64 ? 1 : this.range / 256;
    this.start = { level: (low + high) / 2, width: Math.max(high - low, this.step) };
    this.limit(this.level, Math.min(lowest, this.start.level), Math.max(highest, this.start.level));
    this.limit(this.width, this.step, Math.max(this.range, this.start.width));
    this.preset.disabled = false;
    this.preset.addEventListener("change", () => {
      this.choose(this.preset.value);
      this.preset.blur();
    });
  }

  limit(slider, min, max) {
    Object.assign(slider, { min, max, step: "any", disabled: false });
    slider.addEventListener("input", () => this.changedByHand());
  }

  // Shows the window that the reader last chose, on this image or another one.
  restore() {
    const { preset, shares } = this.settings.window;
    if (shares) {
      this.showShares(shares);
      this.preset.value = "";
    } else {
      this.choose(preset);
    }
  }

  reset() {
    this.choose("sent");
  }

  choose(preset) {
    this.settings.window = { preset };
    this.preset.value = preset;
    if (preset === "all") {
      const { lowest, highest } = this.grey;
      this.set((lowest + highest) / 2, this.range);
    } else {
      this.showShares(PRESETS[preset]);
    }
  }

  // The darkest and the brightest value are given as shares of the range that is shown as sent.
  showShares([darkest, brightest]) {
    const [low, high] = this.grey.inverted ? [1 - brightest, 1 - darkest] : [darkest, brightest];
    const { level, width } = this.start;
    this.set(level + width * ((low + high) / 2 - 0.5), width * (high - low));
  }

  shares() {
    const { level, width } = this.start;
    const middle = (Number(this.level.value) - level) / width + 0.5;
    const half = Number(this.width.value) / width / 2;
    return this.grey.inverted ? [1 - middle - half, 1 - middle + half] : [middle - half, middle + half];
  }

  set(level, width) {
    this.level.value = level;
    this.width.value = width;
    this.show();
  }

  // Up is brighter, and right is more contrast. A drag of 1,000 pixels changes level or width by the whole range.
  drag(across, down) {
    const darker = this.grey.inverted ? -down : down;
    this.level.value = Number(this.level.value) + darker * this.range / 1000;
    this.width.value = Number(this.width.value) - across * this.range / 1000;
    this.changedByHand();
  }

  changedByHand() {
    this.settings.window = { shares: this.shares() };
    this.preset.value = "";
    this.show();
  }

  show() {
    if (this.isAsSent) {
      this.canvas.hidden = true;
      this.text.textContent = this.defaultText;
      return;
    }
    this.text.textContent = `Window ${this.written(this.level)} / ${this.written(this.width)} (level / width), set by you. R resets it.`;
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  get isAsSent() {
    return this.settings.window.preset === "sent";
  }

  written(slider) {
    return Number(slider.value).toFixed(this.range > 64 ? 0 : 3);
  }

  async draw() {
    try {
      this.loaded ??= await this.load(this.canvas);
      this.paint();
      this.canvas.hidden = this.isAsSent;
    } catch {
      this.text.textContent = "The values of the original cannot be loaded, so the window cannot be changed.";
    } finally {
      this.frame = null;
    }
  }

  paint() {
    const table = this.table();
    const { context, pixels, codes } = this.loaded;
    const out = new Uint32Array(pixels.data.buffer);
    for (let i = 0; i < out.length; i += 1) {
      out[i] = table[codes[i]];
    }
    context.putImageData(pixels, 0, 0);
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
