// The reader's findings: one key sends one, or chooses it while a note is written. Says what the reader saw and for how long.
import { keepDraft } from "./drafts.js";
import { open } from "./in_place.js";
import { endOfPage } from "./page_life.js";
import { send } from "./sending.js";
import { goOnFrom, sendReading, stay, unsentReading } from "./unsent.js";

const byId = (id) => document.getElementById(id);
const NOT_DONE = {
  unreachable: "Nightread cannot be reached. Nothing was changed; try again.",
  unable: "Nightread cannot do this now. Nothing was changed; try again.",
  signedOut: "You are signed out. Nothing was changed. Sign in again first.",
};

// Adds up the time for which the page is in front of the reader.
class Stopwatch {
  constructor() {
    this.total = 0;
    this.since = null;
    const change = () => (document.visibilityState === "visible" ? this.run() : this.pause());
    document.addEventListener("visibilitychange", change, { signal: endOfPage() });
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
    // The path ends with it.
    this.imageId = Number(location.pathname.split("/").pop());
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
    for (const form of [this.decide, this.change].filter(Boolean)) {
      form.addEventListener("submit", (event) => this.sendReading(event, form));
    }
    // A form for taking an image over comes later, when another reader claims it.
    document.addEventListener("submit", (event) => {
      if (event.target.matches(".undo, .take-over")) {
        this.sendAct(event);
      }
    }, { signal: endOfPage() });
    this.resume();
    // A page that the browser restores from its history accepts input again.
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) {
        this.free();
        this.resume();
      }
    }, { signal: endOfPage() });
  }

  // The reading stays on the page, with its words, until Nightread has it.
  sendReading(event, form) {
    event.preventDefault();
    if (this.isSending) {
      event.stopImmediatePropagation();
      return;
    }
    const fields = [...new FormData(form, event.submitter)].map(([name, value]) => [name, `${value}`]);
    const chosen = event.submitter?.dataset.key ? event.submitter : form.querySelector("[name=finding]:checked");
    this.wait(chosen);
    sendReading(
      {
        image: this.imageId,
        draft: this.draft,
        finding: this.words(chosen),
        address: form.getAttribute("action"),
        page: `${location.pathname}${location.search}`,
        fields,
      },
      this.goingOn,
    );
  }

  // A page that is loaded again goes on from the reading that it had.
  resume() {
    const reading = unsentReading(this.imageId);
    if (!reading) {
      return;
    }
    const fields = new Map(reading.fields);
    const form = fields.has("amends") ? this.change : this.decide;
    for (const field of form?.querySelectorAll("textarea") ?? []) {
      field.value = fields.get(field.name) ?? "";
    }
    this.wait(form?.querySelector(`[value="${fields.get("finding")}"]`));
    goOnFrom(reading, this.goingOn);
  }

  get goingOn() {
    return { free: () => this.free(), open: (answer) => open(answer.open, answer.page) };
  }

  wait(chosen) {
    this.isSending = true;
    for (const button of this.decide?.querySelectorAll("[data-key]") ?? []) {
      button.setAttribute("aria-pressed", button === chosen);
    }
  }

  // The reader may decide again.
  free() {
    this.isSending = false;
    this.chosen = null;
    for (const button of this.decide?.querySelectorAll("[data-key]") ?? []) {
      button.removeAttribute("aria-pressed");
    }
    stay();
  }

  async sendAct(event) {
    if (event.defaultPrevented) {
      return;
    }
    event.preventDefault();
    if (this.isSending) {
      stay();
      return;
    }
    this.isSending = true;
    const form = event.target;
    const answer = await send(form.getAttribute("action"), [...new FormData(form), ["go_on", "1"]]);
    if (answer.outcome === "recorded") {
      open(answer.open, answer.page);
      return;
    }
    this.free();
    this.showHint(answer.sentence ?? NOT_DONE[answer.outcome]);
  }

  get draft() {
    return this.decide?.dataset.draft ?? this.change.dataset.draft.split(":").slice(0, 2).join(":");
  }

  words(chosen) {
    const words = (chosen.querySelector("b") ?? chosen.closest("label")).textContent.trim().replace(/\s*\d$/, "");
    const isPart = chosen.closest("[aria-labelledby=not-judged]") !== null;
    return (isPart ? `cannot be judged: ${words}` : words).toLowerCase();
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
    if (this.isSending) {
      this.showHint("Your reading is not recorded yet. This page sends it again.");
    } else if (this.decide) {
      this.submit(this.button(number));
    } else if (this.change && byId("amend").open) {
      this.change.querySelector(`[data-key="${number}"]`).click();
    } else if (this.change) {
      this.showHint("You have read this image. Press A to change your reading.");
    } else {
      this.showHint(this.whyNot());
    }
  }

  // What the page says of a reading that it does not allow.
  whyNot() {
    const said = document.querySelector(".decision [data-why]") ?? document.querySelector(".decision > p");
    return said?.textContent.trim().replace(/\s+/g, " ") ?? "This image cannot be read now.";
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
    if (button.disabled) {
      this.showHint(this.whyNot());
    } else if (this.mayDecide()) {
      this.decide.requestSubmit(button);
    }
  }
}
