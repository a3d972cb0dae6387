// On every page: local times, with UTC on demand, and a warning in the status strip when the server stops responding.
import { onEachPage } from "./page_life.js";

let inUtc = false;

function twoDigits(number) {
  return String(number).padStart(2, "0");
}

function localText(at) {
  const day = [at.getFullYear(), twoDigits(at.getMonth() + 1), twoDigits(at.getDate())].join("-");
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(twoDigits).join(":")}`;
}

// The server sends UTC, which the tooltip keeps.
function showTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.dataset.utc ??= time.textContent;
    const local = localText(new Date(time.dateTime));
    time.textContent = inUtc ? time.dataset.utc : local;
    time.title = inUtc ? `${local} local time` : time.dataset.utc;
  }
}

// In winter and in summer.
function isAlwaysUtc() {
  const year = new Date().getFullYear();
  return [0, 6].every((month) => new Date(year, month).getTimezoneOffset() === 0);
}

function offerUtc() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const footer = document.querySelector("footer.bottom");
  if (isAlwaysUtc()) {
    footer.append(` Times: ${zone}`);
    return;
  }
  const choice = document.createElement("button");
  choice.type = "button";
  choice.className = "plain";
  choice.id = "times";
  const name = () => { choice.textContent = inUtc ? "Times: UTC. Switch to local times" : `Times: ${zone}. Switch to UTC`; };
  choice.addEventListener("click", () => {
    inUtc = !inUtc;
    name();
    showTimes();
  });
  name();
  footer.append(" ", choice);
}

onEachPage(showTimes);
document.body.addEventListener("htmx:afterSettle", showTimes);
document.addEventListener("nightread:times", showTimes);
if (document.querySelector("time[datetime]")) {
  offerUtc();
}

const strip = document.getElementById("strip");
let lastResponse = new Date();

function warnNoResponse() {
  strip.classList.add("stale");
  const warning = document.createElement("strong");
  warning.className = "warning";
  warning.textContent = `No response from Nightread since ${lastResponse.toLocaleTimeString()}. What it recorded is safe.`;
  strip.replaceChildren(warning);
}

// Nobody is signed in on a page without a strip.
strip?.addEventListener("htmx:sendError", warnNoResponse);
strip?.addEventListener("htmx:responseError", warnNoResponse);
strip?.addEventListener("htmx:timeout", warnNoResponse);
strip?.addEventListener("htmx:afterSwap", () => {
  lastResponse = new Date();
  strip.classList.remove("stale");
});
