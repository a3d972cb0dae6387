// The reader's findings: one key sends one, or chooses it while a note is written. Says what the reader saw and for how long.
import { keepDraft } from "./drafts.js";

const byId = (id) => document.getElementById(id);

// Adds up the time for which the page is in front of the reader.
class Stopwatch {
  constructor() {
    this.total = 0;
    this.since = null;
    document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? this.run() : this.pause()));
  }

  start() {
    this.started = true;
    this.run();
  }

  run() {
    if (this.started && this.since === null && document.visibilityState === "visible") {
      this.since = performance.now();
    }
  }

  pause() {
    this.total = this.ms() ?? 0;
    this.since = null;
  }

  // Null until the picture was shown.
  ms() {
    const running = this.since === null ? 0 : performance.now() - this.since;
    return this.started ? Math.round(this.total + running) : null;
  }
}

export class ReadingPanel {
  // `mayDecide()` says whether the reader has seen the image, and else tells them why not.
  constructor({ mayDecide, showHint }) {
    this.mayDecide = mayDecide;
    this.showHint = showHint;
    this.decide = byId("decide");
    this.change = byId("change");
    this.chosen = null;
    this.mapShown = false;
    this.stopwatch = new Stopwatch();
    byId("show-map")?.addEventListener("change", (event) => { this.mapShown ||= event.target.checked; });
    for (const form of [this.decide, this.change].filter(Boolean)) {
      this.listen(form);
    }
    for (const form of document.querySelectorAll("form:has([name=open_ms])")) {
      form.addEventListener("submit", () => this.saySeen(form));
    }
  }

  listen(form) {
    keepDraft(form, (isKept) => {
      byId("draft-kept")?.toggleAttribute("hidden", !isKept);
      // A draft of a change is not hidden.
      if (form === this.change && isKept) {
        byId("amend").open = true;
      }
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.send(form);
      }
    });
  }

  saySeen(form) {
    form.elements.open_ms.value = this.stopwatch.ms() ?? "";
    form.elements.map_shown.value = this.mapShown ? "1" : "0";
  }

  // The picture is on the screen.
  imageShown() {
    this.stopwatch.start();
  }

  press(number) {
    if (this.decide) {
      this.submit(this.button(number));
    } else if (this.change && byId("amend").open) {
      this.change.querySelector(`[data-key="${number}"]`).click();
    } else if (this.change) {
      this.showHint("You have read this image. Press A to change your reading.");
    }
  }

  choose(number) {
    if (!this.decide) {
      return;
    }
    this.chosen = this.button(number);
    for (const button of this.decide.querySelectorAll("[data-key]")) {
      button.setAttribute("aria-pressed", button === this.chosen);
    }
    byId("note").focus();
  }

  send(form) {
    if (form === this.change) {
      form.requestSubmit();
    } else if (this.chosen) {
      this.submit(this.chosen);
    } else {
      document.activeElement.blur();
      this.showHint("Press 1 to 6: the finding is sent with your words.");
    }
  }

  openChange() {
    if (this.change) {
      byId("amend").open = true;
      byId("why").focus();
    }
  }

  button(number) {
    return this.decide.querySelector(`[data-key="${number}"]`);
  }

  submit(button) {
    if (!button.disabled && this.mayDecide()) {
      this.decide.requestSubmit(button);
    }
  }
}
