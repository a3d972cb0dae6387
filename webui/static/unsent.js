// Readings that Nightread has not recorded yet. This tab keeps each with its words and sends it again, until it is recorded,
// refused or removed: from whatever page, but only while the person who made it is signed in. Nobody else sees its words.
import { forgetDraft } from "./drafts.js";
import { onEachPage } from "./page_life.js";
import { send } from "./sending.js";
import { keep, keptUnder, remove } from "./tab_storage.js";

const PREFIX = "unsent:";
const DELAYS_S = [1, 2, 4, 8, 15, 30, 60];
// An answer usually comes sooner, and then nothing is shown.
const PATIENCE_MS = 1500;
const { user, userName, signIn } = document.body.dataset;
const WHY = {
  unreachable: "Nightread cannot be reached. This tab keeps it and sends it again.",
  unable: "Nightread cannot record it now. This tab keeps it and sends it again.",
  otherReader: "Another person is signed in in this browser now. This tab keeps it.",
};

// By image: a reader has at most one. The browser may refuse to keep it, so the page holds it, too.
const readings = new Map();
const outcomes = new Map();
const box = document.createElement("div");
box.id = "unsent";
// The reading that was made on this page: the page goes on from it. `free()` lets the reader decide again, and `open()` opens
// what comes next.
let here = null;
let isSending = false;
let tries = 0;
let timer = null;

const keyOf = (reading) => `${PREFIX}${reading.user}:${reading.image}`;
const isMine = (reading) => reading.user === user;

function load() {
  readings.clear();
  for (const [key, reading] of keptUnder(PREFIX)) {
    readings.set(key, reading);
  }
}

function forget(key) {
  readings.delete(key);
  outcomes.delete(key);
  remove((kept) => kept === key);
}

// Keeps a reading and sends it. `{ image, draft, finding, address, fields }`
export function sendReading(reading, page) {
  const kept = { ...reading, user, userName };
  const key = keyOf(kept);
  readings.set(key, kept);
  keep(key, kept);
  goOnFrom(kept, page);
}

// Returns the reader's reading of an image that waits to be sent.
export function unsentReading(image) {
  const reading = readings.get(`${PREFIX}${user}:${image}`);
  return reading && !reading.refusal ? reading : null;
}

export function goOnFrom(reading, { free, open }) {
  here = { key: keyOf(reading), free, open };
  outcomes.delete(here.key);
  tries = 0;
  window.setTimeout(() => { if (isSending) { show(); } }, PATIENCE_MS);
  sendAll();
}

// The reader's readings that Nightread has neither recorded nor refused, with their keys.
function waiting() {
  return [...readings].filter(([, reading]) => isMine(reading) && !reading.refusal);
}

async function sendAll() {
  window.clearTimeout(timer);
  if (isSending) {
    return;
  }
  isSending = true;
  const tried = new Set();
  const untried = () => waiting().find(([key]) => !tried.has(key));
  for (let next = untried(); next; next = untried()) {
    const [key, reading] = next;
    tried.add(key);
    await sendOne(key, reading);
  }
  isSending = false;
  show();
  // Signed out, this would be refused each time: signing in loads a page, which sends. A reading that replaced another one
  // during the round has no outcome yet.
  if (waiting().some(([key]) => !["signedOut", "otherReader"].includes(outcomes.get(key)))) {
    timer = window.setTimeout(sendAll, 1000 * DELAYS_S[Math.min(tries++, DELAYS_S.length - 1)]);
  }
}

async function sendOne(key, reading) {
  const goesOn = () => here?.key === key;
  const answer = await send(reading.address, [...reading.fields, ["go_on", goesOn() ? "1" : "0"]]);
  if (readings.get(key) !== reading) {
    // The reader took it back while it was being sent.
    return;
  }
  if (answer.outcome === "recorded") {
    forget(key);
    forgetDraft(reading.draft);
    if (goesOn()) {
      isLeaving = true;
      here.open(answer);
    } else {
      say(answer.said);
    }
  } else if (answer.outcome === "refused") {
    readings.set(key, { ...reading, refusal: answer.sentence });
    keep(key, readings.get(key));
    freeThePage(key);
  } else {
    outcomes.set(key, answer.outcome);
    if (goesOn()) {
      // The reader may look at other images meanwhile.
      stay();
    }
  }
}

// The page stays where it is.
export function stay() {
  document.dispatchEvent(new Event("nightread:stayed"));
}

function freeThePage(key) {
  if (here?.key === key) {
    here.free();
    here = null;
  }
}

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  made.append(...[content].flat());
  Object.entries(attributes).forEach(([attribute, value]) => made.setAttribute(attribute, value));
  return made;
}

function button(text, onClick) {
  const made = element("button", text, { type: "button", class: "plain" });
  made.addEventListener("click", onClick);
  return made;
}

function say(sentence) {
  const said = element("div", element("span", sentence), { class: "message reading", role: "status" });
  (document.querySelector(".decision") ?? document.getElementById("main")).prepend(said);
}

function place() {
  const page = `${location.pathname}${location.search}`;
  return page.startsWith(signIn) ? null : `${signIn}?${new URLSearchParams({ next: page })}`;
}

function why(key) {
  const outcome = outcomes.get(key);
  if (outcome !== "signedOut") {
    return [WHY[outcome] ?? "It is being sent."];
  }
  return ["You are signed out. ", element("a", "Sign in", { href: place() ?? signIn }), ` as ${userName}, in this tab: then it is sent.`];
}

function lineOfMine(key, reading) {
  const about = `${reading.finding}, image ${reading.image}.`;
  const words = reading.fields.filter(([name, value]) => ["note", "other_finding", "why"].includes(name) && value).map(([, value]) => value);
  const text = element("span", reading.refusal ? `Not recorded: ${about} ${reading.refusal} ` : [`Not sent yet: ${about} `, ...why(key)]);
  if (words.length > 0) {
    text.append(element("q", words.join(" / "), { class: "words-kept" }));
  }
  const acts = element("span", [], { class: "acts" });
  if (reading.refusal) {
    acts.append(element("a", "Show the image as it is now", { href: reading.page }), " ");
  }
  acts.append(button(reading.refusal ? "Remove" : "Do not send", () => {
    forget(key);
    freeThePage(key);
    show();
  }));
  return element("div", [text, acts], { class: "message problem" });
}

function linesOfOthers() {
  const totals = new Map();
  for (const reading of [...readings.values()].filter((each) => !isMine(each))) {
    const of = `${reading.user}`;
    totals.set(of, { name: reading.userName, total: (totals.get(of)?.total ?? 0) + 1 });
  }
  return [...totals.values()].map(({ name, total }) => {
    const what = total === 1 ? `1 reading by ${name} is not sent` : `${total} readings by ${name} are not sent`;
    const then = total === 1 ? "then it is sent" : "then they are sent";
    return element("div", element("span", `${what}. This tab keeps ${total === 1 ? "it" : "them"}. Sign in as ${name} here: ${then}.`), { class: "message problem" });
  });
}

function show() {
  const mine = [...readings].filter(([, reading]) => isMine(reading)).map(([key, reading]) => lineOfMine(key, reading));
  const lines = element("div", [...mine, ...linesOfOthers()]);
  // What is the same as before is not announced again.
  if (lines.textContent !== box.textContent) {
    box.replaceChildren(...lines.childNodes);
  }
  box.hidden = box.childNodes.length === 0;
}

// Signing out empties the tab.
function warnBeforeSigningOut() {
  const form = document.querySelector("form.out");
  let isSure = false;
  form?.addEventListener("submit", (event) => {
    if (isSure || readings.size === 0) {
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    const what = readings.size === 1 ? "1 reading is" : `${readings.size} readings are`;
    const stay = button("Stay", () => dialog.close());
    const go = button("Sign out and lose them", () => {
      isSure = true;
      [...readings.keys()].forEach(forget);
      form.requestSubmit();
    });
    const dialog = element("dialog", [
      element("h2", `${what} not recorded`, { id: "sign-out-title" }),
      element("p", "Signing out removes what this tab keeps."),
      element("p", [stay, " ", go]),
    ], { "aria-labelledby": "sign-out-title", class: "sign-out" });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Closing the tab loses what it keeps; another page of Nightread does not.
let isLeaving = false;
document.addEventListener("click", (event) => { isLeaving ||= event.target.closest?.("a[href]") !== null; });
document.addEventListener("submit", (event) => { isLeaving ||= !event.defaultPrevented; });
document.addEventListener("nightread:stayed", () => { isLeaving = false; });
document.addEventListener("htmx:beforeOnLoad", (event) => { isLeaving ||= event.detail.xhr.getResponseHeader("HX-Redirect") !== null; });
window.addEventListener("beforeunload", (event) => {
  // A browser asks nobody who has not touched the page.
  if (readings.size > 0 && !isLeaving && navigator.userActivation?.hasBeenActive) {
    event.preventDefault();
  }
});

function sendNow() {
  if (waiting().length > 0) {
    tries = 0;
    sendAll();
  }
}

load();
box.setAttribute("role", "status");
box.hidden = true;
onEachPage(() => {
  here = null;
  isLeaving = false;
  (document.querySelector(".decision") ?? document.getElementById("main")).prepend(box);
});
warnBeforeSigningOut();
window.addEventListener("online", sendNow);
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") { sendNow(); } });
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    load();
    show();
    sendNow();
  }
});
if (waiting().length > 0) {
  window.setTimeout(() => { if (isSending) { show(); } }, PATIENCE_MS);
  // By then, a page that shows the image of a reading goes on from it: see `reading.js`.
  document.addEventListener("DOMContentLoaded", sendAll);
} else {
  show();
}
