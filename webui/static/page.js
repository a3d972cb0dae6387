// On every page: local times on hovering, and a strip that says when nobody answers any more.

function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = `${new Date(time.dateTime).toLocaleString()} local time`;
  }
}

showLocalTimes(document);

const strip = document.getElementById("strip");
let lastAnswer = new Date();

function noAnswer() {
  strip.classList.add("stale");
  const warning = document.createElement("strong");
  warning.className = "warning";
  warning.textContent = `No answer since ${lastAnswer.toLocaleTimeString()}. What was decided is kept.`;
  strip.replaceChildren(warning);
}

strip.addEventListener("htmx:sendError", noAnswer);
strip.addEventListener("htmx:responseError", noAnswer);
strip.addEventListener("htmx:timeout", noAnswer);
strip.addEventListener("htmx:afterSwap", () => {
  lastAnswer = new Date();
  strip.classList.remove("stale");
});
