// The viewer: the keys of a reader, and the picture under their hands.
import { Film } from "./film.js";
import { onKeys } from "./keys.js";

const byId = (id) => document.getElementById(id);

const film = byId("sheet") && byId("show-map") ? new Film(byId("stage"), byId("sheet")) : null;
const picture = byId("picture");
const form = byId("decide");
// Nobody decides on a picture they have not seen: a key that was still held down, or came
// before the picture, does nothing.
const LOOK_MS = 250;
let shownSince = Infinity;
let broken = false;
let sent = false;

function say(text) {
  byId("hint").textContent = text;
}

function shown() {
  shownSince = performance.now();
  say("");
  window.setTimeout(() => { document.documentElement.dataset.ready = "true"; }, LOOK_MS);
}

function missing() {
  broken = true;
  say("The picture cannot be shown.");
}

function decide(button) {
  if (!form || !button || sent) {
    return;
  }
  if (shownSince === Infinity) {
    say(broken ? "Without its picture it cannot be read." : "Wait until the picture is shown.");
  } else if (performance.now() - shownSince >= LOOK_MS) {
    form.requestSubmit(button);
  }
}

function follow(link) {
  if (link && !sent) {
    sent = true;
    link.click();
  }
}

function check(box) {
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
  m: () => check(byId("show-map")),
  i: () => check(byId("invert")),
  r: () => film?.reset(),
  "+": () => film?.zoomBy(1.25),
  "=": () => film?.zoomBy(1.25),
  "-": () => film?.zoomBy(0.8),
  "?": () => byId("keys").showModal(),
};

onKeys(actions, { repeatable: ["+", "=", "-"], unless: () => byId("keys").open });

for (const once of document.querySelectorAll("#decide, .undo, #undo")) {
  once.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
    }
    sent = true;
  });
}

// Back from the browser's own history, the page is live again.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    sent = false;
  }
});

byId("show-keys")?.addEventListener("click", () => byId("keys").showModal());

if (picture) {
  if (picture.complete && picture.naturalWidth > 0) {
    shown();
  } else if (picture.complete) {
    missing();
  }
  picture.addEventListener("load", shown);
  picture.addEventListener("error", missing);
}
