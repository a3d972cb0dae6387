// Claims the image of the page while it is on the screen, so that two readers do not read the same image at once: a heartbeat
// renews the claim, and leaving the page releases it. Opening a page changes nothing: a page that the browser loads in
// advance, or in a tab behind others, claims nothing.
import { endOfPage } from "./page_life.js";

export class Claim {
  // Of the page that is shown.
  static present = null;

  // `section` holds the addresses, the form of the reading, and what is said instead of it.
  constructor(section) {
    Claim.present = this;
    this.section = section;
    // When the claim ends, as the server said it: it releases only this one. Null without a claim.
    this.until = null;
    this.isAsking = false;
    this.refusal = section.querySelector(".claimed");
    this.ended = endOfPage();
    this.listen();
    this.claim(false);
  }

  listen() {
    const signal = this.ended;
    const release = () => this.release();
    document.addEventListener("visibilitychange", () => this.claim(false), { signal });
    window.addEventListener("pagehide", release, { signal });
    // After signing out, nothing could be released.
    document.querySelector("form.out")?.addEventListener("submit", release, { signal });
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) {
        this.claim(false);
      }
    }, { signal });
    const heartbeat = window.setInterval(() => this.beat(), 1000 * Number(this.section.dataset.heartbeatS));
    signal.addEventListener("abort", () => {
      window.clearInterval(heartbeat);
      this.release();
    });
  }

  get canDecide() {
    return this.section.querySelector("#decide") !== null;
  }

  refuse(html) {
    const shown = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    this.refusal?.remove();
    this.refusal = null;
    for (const button of this.section.querySelectorAll("#decide button")) {
      button.disabled = shown !== null;
    }
    // A page on which nothing can be decided has said why already.
    if (shown && (this.canDecide || shown.matches(".claimed"))) {
      this.refusal = shown;
      this.section.prepend(shown);
      document.dispatchEvent(new Event("nightread:times"));
    }
  }

  // Without an answer, the reader may decide: the server refuses a reading of an image that another reader has claimed.
  async claim(renews) {
    if (document.visibilityState !== "visible" || this.isAsking) {
      return;
    }
    this.isAsking = true;
    const answer = await fetch(this.section.dataset.claim, {
      method: "POST",
      body: new URLSearchParams({ renews: renews ? "1" : "0" }),
    }).catch(() => null);
    const isJson = answer?.ok && answer.headers.get("Content-Type")?.startsWith("application/json");
    const until = isJson ? (await answer.json().catch(() => null))?.until : null;
    this.isAsking = false;
    const isClaimed = Boolean(until);
    if (isClaimed) {
      this.keep(until);
    }
    if (this.ended.aborted) {
      this.release();
    } else if (isClaimed && this.refusal?.matches(".claimed") && !this.canDecide) {
      // The other reader has left: the page as it is now has the findings.
      location.reload();
    } else if (isClaimed) {
      this.refuse("");
    } else if (answer?.ok && !isJson) {
      this.until = null;
      this.refuse(await answer.text());
    }
  }

  // The image may have been opened again before the answer came: then the claim is the new page's. The latest claim counts.
  keep(until) {
    const { present } = Claim;
    const page = present.section.dataset.claim === this.section.dataset.claim ? present : this;
    if (!page.until || page.until < until) {
      page.until = until;
    }
  }

  beat() {
    if (this.canDecide || this.refusal) {
      this.claim(true);
    }
  }

  // Another image may be claimed by then, and this one by a page that was opened later: only the claim of this page ends.
  release() {
    // Between two images, the answer that is still to come says what to release.
    if (this.until || (this.isAsking && !this.ended.aborted)) {
      const body = new URLSearchParams({ until: this.until ?? "" });
      fetch(this.section.dataset.release, { method: "POST", body, keepalive: true }).catch(() => null);
      this.until = null;
    }
  }
}
