// Exposure, zoom and position of the X-ray image in the viewer.

const MAX_SCALE = 12;

// Brightness and contrast of a picture of 8 bits.
export class Exposure {
  constructor(sheet) {
    this.sheet = sheet;
    this.brightness = document.getElementById("brightness");
    this.contrast = document.getElementById("contrast");
    for (const slider of [this.brightness, this.contrast]) {
      slider.addEventListener("input", () => this.apply());
    }
  }

  reset() {
    this.brightness.value = 100;
    this.contrast.value = 100;
    this.apply();
  }

  drag(across, down) {
    this.brightness.value = Number(this.brightness.value) - down / 2;
    this.contrast.value = Number(this.contrast.value) + across / 2;
    this.apply();
  }

  apply() {
    this.sheet.style.setProperty("--brightness", this.brightness.value / 100);
    this.sheet.style.setProperty("--contrast", this.contrast.value / 100);
  }
}

// `exposure` has `reset()` and `drag(across, down)`; null: it comes later.
export class ImageView {
  constructor(stage, sheet, exposure) {
    this.stage = stage;
    this.sheet = sheet;
    this.exposure = exposure;
    this.scaleText = document.getElementById("zoom");
    this.listen();
    this.reset();
  }

  listen() {
    document.getElementById("zoom-in").addEventListener("click", () => this.zoomBy(1.25));
    document.getElementById("zoom-out").addEventListener("click", () => this.zoomBy(0.8));
    document.getElementById("reset").addEventListener("click", () => this.reset());
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.stage.addEventListener("pointerdown", (event) => this.onDown(event));
    this.stage.addEventListener("pointermove", (event) => this.onMove(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, () => { this.dragStart = null; });
    }
  }

  setExposure(exposure) {
    this.exposure = exposure;
    exposure.reset();
  }

  // `ruler` has `show(scale)`.
  setRuler(ruler) {
    this.ruler = ruler;
    new ResizeObserver(() => ruler.show(this.scale)).observe(this.stage);
  }

  reset() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.exposure?.reset();
    this.applyPosition();
  }

  applyPosition() {
    const box = this.stage.getBoundingClientRect();
    this.x = Math.min(0, Math.max(this.x, box.width * (1 - this.scale)));
    this.y = Math.min(0, Math.max(this.y, box.height * (1 - this.scale)));
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.classList.toggle("zoomed", this.scale > 1);
    this.scaleText.textContent = `${this.scale.toFixed(this.scale < 10 ? 1 : 0).replace(/\.0$/, "")}×`;
    this.ruler?.show(this.scale);
  }

  // Zooms around the point `at` (default: the middle), which stays where it is on the screen.
  zoomBy(factor, at) {
    const box = this.stage.getBoundingClientRect();
    const point = at ?? { x: box.width / 2, y: box.height / 2 };
    const scale = Math.min(MAX_SCALE, Math.max(1, this.scale * factor));
    this.x = point.x - (point.x - this.x) * (scale / this.scale);
    this.y = point.y - (point.y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.applyPosition();
  }

  onWheel(event) {
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    const at = { x: event.clientX - box.left, y: event.clientY - box.top };
    this.zoomBy(Math.exp(-event.deltaY / 400), at);
  }

  // On a touch screen, dragging an unzoomed image scrolls the page.
  onDown(event) {
    if (event.button !== 0 || (event.pointerType === "touch" && this.scale === 1)) {
      return;
    }
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    this.dragStart = { x: event.clientX, y: event.clientY };
  }

  onMove(event) {
    if (!this.dragStart) {
      return;
    }
    const across = event.clientX - this.dragStart.x;
    const down = event.clientY - this.dragStart.y;
    this.dragStart = { x: event.clientX, y: event.clientY };
    if (this.scale > 1) {
      this.x += across;
      this.y += down;
      this.applyPosition();
    } else {
      this.exposure?.drag(across, down);
    }
  }
}
