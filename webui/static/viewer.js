// The viewer: keyboard shortcuts, and the controls of the X-ray image.
import { Beside } from "./beside.js";
import { Claim } from "./claim.js";
import { greyScaleOf, GreyWindow } from "./grey_window.js";
import { ImageView } from "./image_view.js";
import { onKeys } from "./keys.js";
import { endOfPage, onEachPage } from "./page_life.js";
import { ReadingPanel } from "./reading.js";
import { Ruler } from "./ruler.js";
import { MAP_OPACITY, viewSettings } from "./view_settings.js";

const byId = (id) => document.getElementById(id);

// Nobody may decide on an image they have not seen. A shortcut therefore has no effect until the
// image has been on the screen for this long.
const MIN_VIEW_MS = 250;
const RETRY_MS = 2000;
const REPEATABLE = ["+", "=", "-", "arrowleft", "arrowright", "arrowup", "arrowdown"];

function showHint(text) {
  byId("hint").textContent = text;
}

function toggle(box) {
  if (box) {
    box.click();
  }
}

function undo() {
  const form = document.querySelector(".steps .undo");
  if (form) {
    form.requestSubmit();
  } else {
    showHint("There is no reading of yours to take back here.");
  }
}

function moved(to) {
  return () => showHint(`The findings are on the keys 1 to 6 now: ${to}.`);
}

// An image without a score has no map.
function showMapOpacity() {
  if (byId("opacity")) {
    byId("opacity").value = viewSettings.opacity;
  }
  byId("sheet").style.setProperty("--map-opacity", viewSettings.opacity / 100);
}

// The page of one image.
class Viewer {
  constructor() {
    this.ended = endOfPage();
    this.picture = byId("picture");
    this.values = byId("values");
    this.view = this.values ? new ImageView(byId("stage"), byId("sheet"), this.originalSize()) : null;
    this.ruler = this.view && new Ruler(this.view);
    this.beside = this.view && byId("beside") ? new Beside(this.view) : null;
    this.shownSince = Infinity;
    this.imageFailed = false;
    this.sent = false;
    this.panel = new ReadingPanel({ mayDecide: () => this.mayDecide(), showHint });
    this.listen();
    if (this.view) {
      this.keepSettings();
    }
    if (this.picture) {
      this.awaitPicture();
    }
    const claimed = document.querySelector("[data-claim]");
    if (claimed) {
      new Claim(claimed);
    }
  }

  listen() {
    const signal = this.ended;
    onKeys(this.actions(), { repeatable: REPEATABLE, unless: () => byId("keys").open });
    for (const submittedOnce of document.querySelectorAll("#decide, #change, .undo")) {
      submittedOnce.addEventListener("submit", (event) => {
        if (this.sent) {
          event.preventDefault();
        }
        this.sent = true;
      });
    }
    // Nothing was recorded, and the page stays.
    document.addEventListener("nightread:stayed", () => { this.sent = false; }, { signal });
    // A page that the browser restores from its history accepts input again.
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) {
        this.sent = false;
      }
    }, { signal });
    byId("show-keys")?.addEventListener("click", () => byId("keys").showModal());
  }

  awaitPicture() {
    const { picture } = this;
    if (picture.complete && picture.naturalWidth > 0) {
      this.onImageShown();
    } else if (picture.complete) {
      this.onImageFailed();
    }
    picture.addEventListener("load", () => this.onImageShown(), { signal: this.ended });
    picture.addEventListener("error", () => this.onImageFailed(), { signal: this.ended });
  }

  // The size of the original in pixels, upright. A file may hold it on its side.
  originalSize() {
    const { width, height } = byId("sheet").dataset;
    const natural = { width: this.picture.naturalWidth || 1, height: this.picture.naturalHeight || 1 };
    const longest = Math.max(width, height, natural.width, natural.height);
    const scale = longest / Math.max(natural.width, natural.height);
    return { width: natural.width * scale, height: natural.height * scale };
  }

  // The values of the original are ready when its picture is.
  async showGreyScale() {
    const scale = await greyScaleOf(this.values, this.picture);
    if (!scale || this.ended.aborted) {
      return;
    }
    if (scale.text) {
      byId("window-shown").textContent = scale.text;
      this.ruler.setSpacing(scale.grey.spacing, scale.measured_at);
    }
    this.view.setExposure(new GreyWindow(this.values, scale.grey, scale.load, viewSettings));
  }

  onImageShown() {
    if (this.view && !this.view.exposure) {
      this.view.size = this.originalSize();
      this.view.fit();
      this.showGreyScale();
    }
    this.shownSince = performance.now();
    this.panel.imageShown();
    showHint("");
    window.setTimeout(() => {
      if (!this.ended.aborted) {
        document.documentElement.dataset.ready = "true";
      }
    }, MIN_VIEW_MS);
  }

  async onImageFailed() {
    this.imageFailed = true;
    showHint("The image cannot be displayed.");
    // The server says why in plain text. 503: the picture is not ready yet.
    const { picture } = this;
    const answer = await fetch(picture.src).catch(() => null);
    const isText = answer?.headers.get("Content-Type")?.startsWith("text/plain");
    const text = isText ? await answer.text() : "";
    if (this.ended.aborted) {
      return;
    }
    if (answer && (answer.ok || answer.status === 503)) {
      showHint("The image is being prepared.");
      window.setTimeout(() => { picture.src = `${picture.src}`; }, RETRY_MS);
    } else if (isText) {
      showHint(`The image cannot be displayed. ${text}`);
    }
  }

  // Whether the reader has looked at the image long enough to decide on it.
  mayDecide() {
    if (this.sent) {
      return false;
    }
    if (this.shownSince === Infinity) {
      showHint(this.imageFailed ? "The image cannot be displayed, so you cannot decide on it." : "Wait until the image is displayed, then decide.");
      return false;
    }
    return performance.now() - this.shownSince >= MIN_VIEW_MS;
  }

  follow(link) {
    if (link && !this.sent) {
      this.sent = true;
      link.click();
    }
  }

  // The image that keys act on: the earlier one while it has the focus.
  get inFront() {
    return this.beside?.isInFront ? this.beside.view : this.view;
  }

  pan(event, across, down) {
    // The arrow keys move a slider that has the focus.
    return event.target.matches("input") ? false : this.inFront?.pan(across, down) ?? false;
  }

  resetView() {
    this.view?.reset();
    this.view?.exposure?.reset();
    if (this.view) {
      byId("invert").checked = viewSettings.inverted = false;
      viewSettings.opacity = MAP_OPACITY;
      showMapOpacity();
    }
  }

  keepSettings() {
    const invert = byId("invert");
    const opacity = byId("opacity");
    invert.checked = viewSettings.inverted;
    invert.addEventListener("change", () => { viewSettings.inverted = invert.checked; });
    opacity?.addEventListener("input", () => {
      viewSettings.opacity = Number(opacity.value);
      showMapOpacity();
    });
    showMapOpacity();
    byId("reset").addEventListener("click", () => this.resetView());
    const more = byId("more-tools");
    more.addEventListener("click", () => more.setAttribute("aria-expanded", more.getAttribute("aria-expanded") === "false"));
  }

  showBeside() {
    if (this.beside) {
      this.beside.toggle();
    } else {
      showHint("There is no earlier image of this patient that can be shown.");
    }
  }

  actions() {
    const findings = Object.fromEntries(["1", "2", "3", "4", "5", "6"].flatMap((number) => [
      [number, () => this.panel.press(number)],
      [`shift+${number}`, () => this.panel.choose(number)],
    ]));
    return {
      ...findings,
      a: () => this.panel.openChange(),
      e: () => this.showBeside(),
      c: moved("1 for signs of pneumonia, 2 for no signs"),
      o: moved("1 for signs of pneumonia, 2 for no signs"),
      u: undo,
      z: undo,
      j: () => this.follow(byId("next")),
      k: () => this.follow(byId("previous")),
      n: () => (byId("note") ?? byId("change-note"))?.focus(),
      f: () => (byId("other") ?? byId("change-other"))?.focus(),
      m: () => toggle(byId("show-map")),
      i: () => toggle(byId("invert")),
      l: () => toggle(byId("measure")),
      r: () => this.resetView(),
      t: () => this.inFront?.turn(),
      w: () => this.inFront?.fit(),
      x: () => this.inFront?.showOneToOne(),
      7: () => this.inFront?.exposure?.choose("sent"),
      8: () => this.inFront?.exposure?.choose("lungs"),
      9: () => this.inFront?.exposure?.choose("mediastinum"),
      0: () => this.inFront?.exposure?.choose("all"),
      arrowleft: (event) => this.pan(event, -1, 0),
      arrowright: (event) => this.pan(event, 1, 0),
      arrowup: (event) => this.pan(event, 0, -1),
      arrowdown: (event) => this.pan(event, 0, 1),
      "+": () => this.inFront?.zoomBy(1.25),
      "=": () => this.inFront?.zoomBy(1.25),
      "-": () => this.inFront?.zoomBy(0.8),
      "?": () => byId("keys").showModal(),
    };
  }
}

onEachPage(() => new Viewer());
