// On every page: local times in tooltips, and a warning in the status strip when the server stops responding.

function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = `${new Date(time.dateTime).toLocaleString()} local time`;
  }
}

showLocalTimes(document);

const strip = document.getElementById("strip");
let lastResponse = new Date();

function warnNoResponse() {
  strip.classList.add("stale");
  const warning = document.createElement("strong");
  warning.className = "warning";
  warning.textContent = `No response from Nightread since ${lastResponse.toLocaleTimeString()}. Your readings are saved.`;
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
