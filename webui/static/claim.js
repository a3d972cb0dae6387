// Claims the image of the page while it is on the screen, so that two readers do not read the same image at once: a heartbeat
// renews the claim, and leaving the page releases it. Opening a page changes nothing: a page that the browser loads in
// advance, or in a tab behind others, claims nothing.

const section = document.querySelector("[data-claim]");
const HEARTBEAT_MS = 1000 * Number(section.dataset.heartbeatS);
// When the claim ends, as the server said it: it releases only this one. Null without a claim.
let until = null;
let isAsking = false;
let refusal = section.querySelector(".claimed");
const canDecide = () => section.querySelector("#decide") !== null;

function refuse(html) {
  const shown = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
  refusal?.remove();
  refusal = null;
  for (const button of section.querySelectorAll("#decide button")) {
    button.disabled = shown !== null;
  }
  // A page on which nothing can be decided has said why already.
  if (shown && (canDecide() || shown.matches(".claimed"))) {
    refusal = shown;
    section.prepend(shown);
    document.dispatchEvent(new Event("nightread:times"));
  }
}

// Without an answer, the reader may decide: the server refuses a reading of an image that another reader has claimed.
async function claim(renews) {
  if (document.visibilityState !== "visible" || isAsking) {
    return;
  }
  isAsking = true;
  const answer = await fetch(section.dataset.claim, {
    method: "POST",
    body: new URLSearchParams({ renews: renews ? "1" : "0" }),
  }).catch(() => null);
  isAsking = false;
  if (answer?.headers.get("Content-Type")?.startsWith("application/json") && answer.ok) {
    ({ until } = await answer.json());
    if (refusal?.matches(".claimed") && !canDecide()) {
      // The other reader has left: the page as it is now has the findings.
      location.reload();
      return;
    }
    refuse("");
  } else if (answer?.ok) {
    until = null;
    refuse(await answer.text());
  }
}

function beat() {
  if (canDecide() || refusal) {
    claim(true);
  }
}

// Another image may be claimed by then, and this one by a page that was opened later: only the claim of this page ends.
function release() {
  if (until || isAsking) {
    fetch(section.dataset.release, { method: "POST", body: new URLSearchParams({ until: until ?? "" }), keepalive: true }).catch(() => null);
    until = null;
  }
}

document.addEventListener("visibilitychange", () => claim(false));
window.addEventListener("pagehide", release);
// After signing out, nothing could be released.
document.querySelector("form.out")?.addEventListener("submit", release);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    claim(false);
  }
});
window.setInterval(beat, HEARTBEAT_MS);
claim(false);
