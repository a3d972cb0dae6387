// Claims the image of the page while it is on the screen, so that two readers do not read the same image at once.
// Opening a page changes nothing: a page that the browser loads in advance, or in a tab behind others, claims nothing.

const section = document.querySelector("[data-claim]");
const refusal = document.createElement("p");
refusal.className = "message problem";
refusal.setAttribute("role", "alert");

function show(sentence) {
  refusal.textContent = sentence;
  refusal.remove();
  const buttons = section.querySelectorAll("#decide button");
  for (const button of buttons) {
    button.disabled = sentence !== "";
  }
  if (sentence && buttons.length > 0) {
    section.prepend(refusal);
  }
}

// Without an answer, the reader may decide: the server refuses a reading of an image that another reader has claimed.
async function claim() {
  if (document.visibilityState === "visible") {
    const answer = await fetch(section.dataset.claim, { method: "POST" }).catch(() => null);
    show(answer?.status === 200 ? await answer.text() : "");
  }
}

document.addEventListener("visibilitychange", claim);
claim();
