// Zoom, rotation and position of the X-ray image in the viewer.

const MAX_SCALE = 12;
const PAN_STEP = 60;

// `size` is the width and height of the original in pixels. `find` returns a control of the image by its name.
export class ImageView {
  constructor(stage, sheet, size, find = (name) => document.getElementById(name)) {
    Object.assign(this, { stage, sheet, size, find });
    this.scaleText = find("zoom");
    this.followers = [];
    this.quarterTurns = 0;
    this.listen();
    this.fit();
    new ResizeObserver(() => this.applyPosition()).observe(stage);
  }

  listen() {
    const buttons = {
      "zoom-in": () => this.zoomBy(1.25),
      "zoom-out": () => this.zoomBy(0.8),
      "fit": () => this.fit(),
      "one-to-one": () => this.showOneToOne(),
      "turn": () => this.turn(),
    };
    for (const [id, act] of Object.entries(buttons)) {
      this.find(id).addEventListener("click", act);
    }
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.stage.addEventListener("pointerdown", (event) => this.onDown(event));
    this.stage.addEventListener("pointermove", (event) => this.onMove(event));
    this.stage.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, () => { this.drag = null; });
    }
    for (const touch of ["touchstart", "touchmove", "touchend", "touchcancel"]) {
      this.stage.addEventListener(touch, (event) => this.onTouch(event), { passive: false });
    }
  }

  // `exposure` has `drag(across, down)`.
  setExposure(exposure) {
    this.exposure = exposure;
  }

  // `follow` is called whenever the image moves.
  onChange(follow) {
    this.followers.push(follow);
    follow();
  }

  reset() {
    this.quarterTurns = 0;
    this.fit();
  }

  fit() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
    this.applyPosition();
  }

  turn() {
    this.quarterTurns = (this.quarterTurns + 1) % 4;
    this.fit();
  }

  // The pixels of the page that a pixel of the original takes.
  get pixelSize() {
    return this.fitSize * this.scale;
  }

  get fitSize() {
    const box = this.stage.getBoundingClientRect();
    const { width, height } = this.isSideways ? { width: this.size.height, height: this.size.width } : this.size;
    return Math.min(box.width / width, box.height / height);
  }

  get isSideways() {
    return this.quarterTurns % 2 === 1;
  }

  // One pixel of the original is one pixel of the screen.
  get oneToOne() {
    return 1 / (this.fitSize * window.devicePixelRatio);
  }

  showOneToOne() {
    this.zoomBy(this.oneToOne / this.scale);
  }

  applyPosition() {
    const box = this.stage.getBoundingClientRect();
    this.x = this.limited(this.x, box.width);
    this.y = this.limited(this.y, box.height);
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.sheet.dataset.turn = this.quarterTurns;
    this.stage.classList.toggle("zoomed", this.scale > 1);
    this.scaleText.textContent = this.scale === 1 ? "fit" : `${Math.round(100 * this.pixelSize * window.devicePixelRatio)} %`;
    for (const follow of this.followers) {
      follow();
    }
  }

  // The zoom, and the point of the sheet in the middle of the stage, as shares of its width and height.
  get place() {
    const box = this.stage.getBoundingClientRect();
    const { scale } = this;
    return { scale, across: (0.5 - this.x / box.width) / scale, down: (0.5 - this.y / box.height) / scale };
  }

  set place({ scale, across, down }) {
    const box = this.stage.getBoundingClientRect();
    this.scale = scale;
    this.x = box.width * (0.5 - across * scale);
    this.y = box.height * (0.5 - down * scale);
    this.applyPosition();
  }

  limited(offset, length) {
    const room = length * (1 - this.scale);
    return room > 0 ? room / 2 : Math.min(0, Math.max(offset, room));
  }

  // Zooms around the point `at` (default: the middle), which stays where it is on the screen.
  zoomBy(factor, at) {
    const box = this.stage.getBoundingClientRect();
    const point = at ?? { x: box.width / 2, y: box.height / 2 };
    const smallest = Math.min(1, this.oneToOne);
    const largest = Math.max(MAX_SCALE, this.oneToOne);
    const scale = Math.min(largest, Math.max(smallest, this.scale * factor));
    this.x = point.x - (point.x - this.x) * (scale / this.scale);
    this.y = point.y - (point.y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.applyPosition();
  }

  moveBy(across, down) {
    this.x += across;
    this.y += down;
    this.applyPosition();
  }

  // Returns false where there is nothing to pan, so that the key scrolls the page.
  pan(across, down) {
    if (this.scale <= 1) {
      return false;
    }
    this.moveBy(-across * PAN_STEP, -down * PAN_STEP);
    return true;
  }

  placeOf({ clientX, clientY }) {
    const box = this.stage.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top };
  }

  onWheel(event) {
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 400), this.placeOf(event));
  }

  // On a touch screen, dragging an unzoomed image scrolls the page. The right button always changes the window.
  onDown(event) {
    const isTouch = event.pointerType === "touch";
    if (![0, 2].includes(event.button) || event.defaultPrevented || (isTouch && this.scale <= 1)) {
      return;
    }
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    this.drag = { ...this.placeOf(event), moves: this.scale > 1 && event.button === 0 && !event.shiftKey };
  }

  onMove(event) {
    if (!this.drag) {
      return;
    }
    const { x, y } = this.placeOf(event);
    const across = x - this.drag.x;
    const down = y - this.drag.y;
    Object.assign(this.drag, { x, y });
    if (this.drag.moves) {
      this.moveBy(across, down);
    } else {
      this.exposure?.drag(across, down);
    }
  }

  // Two fingers zoom and move the image.
  onTouch(event) {
    if (event.touches.length !== 2) {
      this.pinch = null;
      return;
    }
    event.preventDefault();
    this.drag = null;
    const [one, other] = [...event.touches].map((touch) => this.placeOf(touch));
    const middle = { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
    const distance = Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    if (this.pinch) {
      this.moveBy(middle.x - this.pinch.middle.x, middle.y - this.pinch.middle.y);
      this.zoomBy(distance / this.pinch.distance, middle);
    }
    this.pinch = { middle, distance };
  }
}
