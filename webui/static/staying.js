// While Nightread cannot be reached, no link leads to the browser's own error page: the page stays and says why.
import { stay } from "./unsent.js";

const strip = document.getElementById("strip");

function mayBeUnreachable() {
  return !navigator.onLine || strip?.classList.contains("stale") || document.querySelector("#unsent:not([hidden])") !== null;
}

// Says that the page stays, and lets the reader act on it again.
export function sayUnreachable() {
  document.getElementById("stayed")?.remove();
  const sentence = document.createElement("p");
  sentence.id = "stayed";
  sentence.className = "message problem";
  sentence.setAttribute("role", "status");
  sentence.textContent = "Nightread cannot be reached, so this page stays. Try again in a moment.";
  (document.querySelector(".decision") ?? document.getElementById("main")).prepend(sentence);
  stay();
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.defaultPrevented;
  if (!link || !isPlain || link.origin !== location.origin || link.target || link.hasAttribute("download") || !mayBeUnreachable()) {
    return;
  }
  event.preventDefault();
  const answer = await fetch(link.href, { method: "HEAD" }).catch(() => null);
  if (answer) {
    location.assign(link.href);
  } else {
    sayUnreachable();
  }
});
