// Lengths on the X-ray image: a scale, and a line that the reader draws. In millimetres where the pixel spacing is
// known, otherwise in pixels of the original.

const LENGTHS = [2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1];

// What is known of the spacing; `spacing` is null if it is not known.
class Unit {
  constructor(spacing, measuredAt) {
    this.name = spacing ? "mm" : "px";
    this.ending = spacing && measuredAt ? `, ${measuredAt}` : "";
    this.across = spacing?.across_mm ?? 1;
    this.down = spacing?.down_mm ?? 1;
  }
}

export class Ruler {
  // `view` is an ImageView. Until `setSpacing`, lengths are in pixels.
  constructor(view) {
    this.view = view;
    this.bar = document.getElementById("ruler");
    this.text = document.getElementById("ruler-text");
    this.button = document.getElementById("measure");
    this.line = document.getElementById("measured-line");
    this.length = document.getElementById("measured-length");
    this.setSpacing(null);
    this.bar.hidden = false;
    this.listen();
    view.onChange(() => this.show());
  }

  setSpacing(spacing, measuredAt) {
    this.unit = new Unit(spacing, measuredAt);
    this.show();
  }

  listen() {
    const { stage } = this.view;
    this.button.addEventListener("change", () => {
      stage.classList.toggle("measuring", this.button.checked);
      this.clear();
    });
    // Before the view's own listeners, which then leave the drag alone.
    stage.addEventListener("pointerdown", (event) => this.onDown(event), { capture: true });
    stage.addEventListener("pointermove", (event) => this.onMove(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, () => { this.from = null; });
    }
  }

  // The scale: the longest round length that fits into a third of the stage.
  show() {
    this.clear();
    const perUnit = this.view.pixelSize / (this.view.isSideways ? this.unit.down : this.unit.across);
    const room = this.view.stage.getBoundingClientRect().width / 3;
    const length = LENGTHS.find((each) => each * perUnit <= room) ?? LENGTHS.at(-1);
    this.bar.style.setProperty("--length", `${length * perUnit}px`);
    this.text.textContent = `${length} ${this.unit.name}${this.unit.ending}`;
  }

  clear() {
    this.from = null;
    this.line.toggleAttribute("hidden", true);
    this.length.hidden = true;
  }

  onDown(event) {
    if (!this.button.checked || event.button !== 0) {
      return;
    }
    event.preventDefault();
    this.view.stage.setPointerCapture(event.pointerId);
    this.from = this.view.placeOf(event);
  }

  onMove(event) {
    if (!this.from) {
      return;
    }
    const to = this.view.placeOf(event);
    const line = this.line.firstElementChild;
    const ends = { x1: this.from.x, y1: this.from.y, x2: to.x, y2: to.y };
    for (const [name, value] of Object.entries(ends)) {
      line.setAttribute(name, value);
    }
    this.length.style.translate = `${to.x}px ${to.y}px`;
    this.length.textContent = `${this.measured(to.x - this.from.x, to.y - this.from.y)} ${this.unit.name}${this.unit.ending}`;
    this.line.toggleAttribute("hidden", false);
    this.length.hidden = false;
  }

  // `across` and `down` are pixels of the page.
  measured(across, down) {
    const { unit, view } = this;
    const [perAcross, perDown] = view.isSideways ? [unit.down, unit.across] : [unit.across, unit.down];
    const length = Math.hypot(across * perAcross, down * perDown) / view.pixelSize;
    return length.toFixed(unit.name === "mm" ? 1 : 0);
  }
}
