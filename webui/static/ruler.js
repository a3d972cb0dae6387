// A ruler in millimetres, for a picture whose pixel spacing is known.

const LENGTHS_MM = [200, 100, 50, 20, 10, 5, 2, 1];

export class Ruler {
  // `width` and `height` are those of the original in pixels; `spacing` is null if it is not known.
  constructor(stage, { width, height, grey, measured_at: measuredAt }) {
    this.stage = stage;
    this.measuredAt = measuredAt;
    this.size = { width, height };
    this.spacing = grey.spacing;
    this.bar = document.getElementById("ruler");
    this.text = document.getElementById("ruler-text");
    this.bar.hidden = !this.spacing;
  }

  // `scale` is the zoom: at 1 the whole picture fits into the stage.
  show(scale) {
    if (!this.spacing) {
      return;
    }
    const box = this.stage.getBoundingClientRect();
    const zoom = Math.min(box.width / this.size.width, box.height / this.size.height) * scale;
    const perMm = zoom / this.spacing.across_mm;
    const length = LENGTHS_MM.find((mm) => mm * perMm <= box.width / 3) ?? LENGTHS_MM.at(-1);
    this.bar.style.setProperty("--length", `${length * perMm}px`);
    this.text.textContent = `${length} mm, ${this.measuredAt}`;
  }
}
