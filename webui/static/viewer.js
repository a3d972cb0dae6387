// The viewer: keyboard shortcuts, and the controls of the X-ray image.
import { GreyWindow } from "./grey_window.js";
import { Exposure, ImageView } from "./image_view.js";
import { onKeys } from "./keys.js";
import { Ruler } from "./ruler.js";

const byId = (id) => document.getElementById(id);

const stage = byId("stage");
const values = byId("values");
const view = byId("sheet") && byId("show-map") ? new ImageView(stage, byId("sheet"), values ? null : new Exposure(byId("sheet"))) : null;
const picture = byId("picture");
const form = byId("decide");
// Nobody may decide on an image they have not seen. A shortcut therefore has no effect until the
// image has been on the screen for this long.
const MIN_VIEW_MS = 250;
const RETRY_MS = 2000;
let shownSince = Infinity;
let imageFailed = false;
let sent = false;

function showHint(text) {
  byId("hint").textContent = text;
}

// The values of the original are ready when its picture is.
async function showGreyScale() {
  const answer = await fetch(values.dataset.grey).catch(() => null);
  if (answer?.ok) {
    const facts = await answer.json();
    byId("window-shown").textContent = facts.text;
    view.setExposure(new GreyWindow(values, facts.grey));
    view.setRuler(new Ruler(stage, facts));
  }
}

function onImageShown() {
  if (values && view && !view.exposure) {
    showGreyScale();
  }
  shownSince = performance.now();
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

function decide(button) {
  if (!form || !button || button.disabled || sent) {
    return;
  }
  if (shownSince === Infinity) {
    showHint(imageFailed ? "The image cannot be displayed, so you cannot decide on it." : "Wait until the image is displayed, then decide.");
  } else if (performance.now() - shownSince >= MIN_VIEW_MS) {
    form.requestSubmit(button);
  }
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

const actions = {
  c: () => decide(byId("confirm")),
  o: () => decide(byId("override")),
  u: () => byId("undo")?.requestSubmit(),
  z: () => byId("undo")?.requestSubmit(),
  j: () => follow(byId("next")),
  k: () => follow(byId("previous")),
  n: () => byId("note")?.focus(),
  m: () => toggle(byId("show-map")),
  i: () => toggle(byId("invert")),
  r: () => view?.reset(),
  "+": () => view?.zoomBy(1.25),
  "=": () => view?.zoomBy(1.25),
  "-": () => view?.zoomBy(0.8),
  "?": () => byId("keys").showModal(),
};

onKeys(actions, { repeatable: ["+", "=", "-"], unless: () => byId("keys").open });

for (const submittedOnce of document.querySelectorAll("#decide, .undo, #undo")) {
  submittedOnce.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
    }
    sent = true;
  });
}

// A page that the browser restores from its history accepts input again.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    sent = false;
  }
});

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
