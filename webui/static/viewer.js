// The viewer: keyboard shortcuts, and the controls of the X-ray image.
import { codesOfPicture, codesOfValues, EIGHT_BITS, GreyWindow } from "./grey_window.js";
import { ImageView } from "./image_view.js";
import { onKeys } from "./keys.js";
import { ReadingPanel } from "./reading.js";
import { Ruler } from "./ruler.js";
import { MAP_OPACITY, viewSettings } from "./view_settings.js";

const byId = (id) => document.getElementById(id);

const picture = byId("picture");
const values = byId("values");
const view = values ? new ImageView(byId("stage"), byId("sheet"), originalSize()) : null;
const ruler = view && new Ruler(view);
// Nobody may decide on an image they have not seen. A shortcut therefore has no effect until the
// image has been on the screen for this long.
const MIN_VIEW_MS = 250;
const RETRY_MS = 2000;
let shownSince = Infinity;
let imageFailed = false;
let sent = false;

// The size of the original in pixels, upright. A file may hold it on its side.
function originalSize() {
  const { width, height } = byId("sheet").dataset;
  const natural = { width: picture.naturalWidth || 1, height: picture.naturalHeight || 1 };
  const longest = Math.max(width, height, natural.width, natural.height);
  const scale = longest / Math.max(natural.width, natural.height);
  return { width: natural.width * scale, height: natural.height * scale };
}

function showHint(text) {
  byId("hint").textContent = text;
}

// The values of the original are ready when its picture is.
async function showGreyScale() {
  if (!values.dataset.grey) {
    exposeAs(EIGHT_BITS, (canvas) => codesOfPicture(canvas, picture));
    return;
  }
  const answer = await fetch(values.dataset.grey).catch(() => null);
  if (answer?.ok) {
    const facts = await answer.json();
    byId("window-shown").textContent = facts.text;
    ruler.setSpacing(facts.grey.spacing, facts.measured_at);
    exposeAs(facts.grey, codesOfValues);
  }
}

function exposeAs(grey, load) {
  view.setExposure(new GreyWindow(values, grey, load, viewSettings));
}

function onImageShown() {
  if (view && !view.exposure) {
    view.size = originalSize();
    view.fit();
    showGreyScale();
  }
  shownSince = performance.now();
  panel.imageShown();
  showHint("");
  window.setTimeout(() => { document.documentElement.dataset.ready = "true"; }, MIN_VIEW_MS);
}

async function onImageFailed() {
  imageFailed = true;
  showHint("The image cannot be displayed.");
  // The server says why in plain text. 503: the picture is not ready yet.
  const answer = await fetch(picture.src).catch(() => null);
  if (answer && (answer.ok || answer.status === 503)) {
    showHint("The image is being prepared.");
    window.setTimeout(() => { picture.src = `${picture.src}`; }, RETRY_MS);
  } else if (answer?.headers.get("Content-Type")?.startsWith("text/plain")) {
    showHint(`The image cannot be displayed. ${await answer.text()}`);
  }
}

// Whether the reader has looked at the image long enough to decide on it.
function mayDecide() {
  if (sent) {
    return false;
  }
  if (shownSince === Infinity) {
    showHint(imageFailed ? "The image cannot be displayed, so you cannot decide on it." : "Wait until the image is displayed, then decide.");
    return false;
  }
  return performance.now() - shownSince >= MIN_VIEW_MS;
}

const panel = new ReadingPanel({ mayDecide, showHint });

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

function follow(link) {
  if (link && !sent) {
    sent = true;
    link.click();
  }
}

function toggle(box) {
  if (box) {
    box.click();
  }
}

function pan(event, across, down) {
  // The arrow keys move a slider that has the focus.
  return event.target.matches("input") ? false : view?.pan(across, down) ?? false;
}

// An image without a score has no map.
function showMapOpacity() {
  if (byId("opacity")) {
    byId("opacity").value = viewSettings.opacity;
  }
  byId("sheet").style.setProperty("--map-opacity", viewSettings.opacity / 100);
}

function resetView() {
  view?.reset();
  view?.exposure?.reset();
  if (view) {
    byId("invert").checked = viewSettings.inverted = false;
    viewSettings.opacity = MAP_OPACITY;
    showMapOpacity();
  }
}

function keepSettings() {
  const invert = byId("invert");
  const opacity = byId("opacity");
  invert.checked = viewSettings.inverted;
  invert.addEventListener("change", () => { viewSettings.inverted = invert.checked; });
  opacity?.addEventListener("input", () => {
    viewSettings.opacity = Number(opacity.value);
    showMapOpacity();
  });
  showMapOpacity();
  byId("reset").addEventListener("click", resetView);
  const more = byId("more-tools");
  more.addEventListener("click", () => more.setAttribute("aria-expanded", more.getAttribute("aria-expanded") === "false"));
}
const findings = Object.fromEntries(["1", "2", "3", "4", "5", "6"].flatMap((number) => [
  [number, () => panel.press(number)],
  [`shift+${number}`, () => panel.choose(number)],
]));

const actions = {
  ...findings,
  a: () => panel.openChange(),
  c: moved("1 for signs of pneumonia, 2 for no signs"),
  o: moved("1 for signs of pneumonia, 2 for no signs"),
  u: undo,
  z: undo,
  j: () => follow(byId("next")),
  k: () => follow(byId("previous")),
  n: () => (byId("note") ?? byId("change-note"))?.focus(),
  f: () => (byId("other") ?? byId("change-other"))?.focus(),
  m: () => toggle(byId("show-map")),
  i: () => toggle(byId("invert")),
  l: () => toggle(byId("measure")),
  r: () => resetView(),
  t: () => view?.turn(),
  w: () => view?.fit(),
  x: () => view?.showOneToOne(),
  7: () => view?.exposure?.choose("sent"),
  8: () => view?.exposure?.choose("lungs"),
  9: () => view?.exposure?.choose("mediastinum"),
  0: () => view?.exposure?.choose("all"),
  arrowleft: (event) => pan(event, -1, 0),
  arrowright: (event) => pan(event, 1, 0),
  arrowup: (event) => pan(event, 0, -1),
  arrowdown: (event) => pan(event, 0, 1),
  "+": () => view?.zoomBy(1.25),
  "=": () => view?.zoomBy(1.25),
  "-": () => view?.zoomBy(0.8),
  "?": () => byId("keys").showModal(),
};

onKeys(actions, { repeatable: ["+", "=", "-", "arrowleft", "arrowright", "arrowup", "arrowdown"], unless: () => byId("keys").open });

for (const submittedOnce of document.querySelectorAll("#decide, #change, .undo")) {
  submittedOnce.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
    }
    sent = true;
  });
}

// Nothing was recorded, and the page stays.
document.addEventListener("nightread:stayed", () => { sent = false; });

// A page that the browser restores from its history accepts input again.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    sent = false;
  }
});

if (view) {
  keepSettings();
}

byId("show-keys")?.addEventListener("click", () => byId("keys").showModal());

if (picture) {
  if (picture.complete && picture.naturalWidth > 0) {
    onImageShown();
  } else if (picture.complete) {
    onImageFailed();
  }
  picture.addEventListener("load", onImageShown);
  picture.addEventListener("error", onImageFailed);
}
