// The workbench of thresholds: asks the server for the figures whenever a field changes, and puts its texts in place. Every
// figure is the server's.
import { onEachPage } from "./page_life.js";

const WAIT_MS = 60;

const byId = (id) => document.getElementById(id);

function put({ texts, markers, fields, query }, form, moved) {
  for (const [id, text] of Object.entries(texts)) {
    byId(id)?.replaceChildren(text);
  }
  for (const [column, { x, y }] of Object.entries(markers)) {
    const marker = byId(`marker-${column}`);
    marker?.toggleAttribute("hidden", x === null);
    if (marker && x !== null) {
      marker.setAttribute("cx", x);
      marker.setAttribute("cy", y);
    }
  }
  for (const [name, value] of Object.entries(fields)) {
    const field = form.elements[name];
    // A number that somebody types is left as it is.
    if (field && field !== moved) {
      field.value = value;
    }
    for (const other of document.querySelectorAll(`[data-of="${name}"]`)) {
      if (other !== moved) {
        other.value = value;
      }
    }
  }
  for (const link of document.querySelectorAll("a[data-with-query]")) {
    link.search = query;
  }
  window.history.replaceState(null, "", `?${query}`);
}

function start() {
  const form = byId("bench");
  if (!form) {
    return;
  }
  let timer = 0;
  let asked = null;
  const say = (sentence) => {
    byId("bench-message").textContent = sentence;
    byId("bench-message").hidden = !sentence;
    byId("figures-of-both").classList.toggle("dim", Boolean(sentence));
  };
  const ask = async (moved) => {
    asked = new AbortController();
    const { signal } = asked;
    const parameters = new URLSearchParams(new FormData(form));
    parameters.set("moved", moved.dataset.of ?? moved.name);
    const answer = await fetch(`${form.dataset.figures}?${parameters}`, { signal, headers: { Accept: "application/json" } }).catch(() => null);
    if (signal.aborted) {
      return;
    }
    const document_ = answer && await answer.json().catch(() => null);
    if (signal.aborted) {
      return;
    }
    if (answer?.ok && document_) {
      say("");
      put(document_, form, moved);
    } else {
      say(document_?.error ?? "Nightread cannot be reached. The figures are those of the numbers before.");
    }
  };
  form.addEventListener("input", ({ target }) => {
    const { of } = target.dataset;
    if (of) {
      form.elements[of].value = target.value;
    }
    if (target.name === "set") {
      form.requestSubmit();
      return;
    }
    // An answer to the numbers before would put them back into the field that has just changed.
    asked?.abort();
    clearTimeout(timer);
    timer = setTimeout(() => ask(target), WAIT_MS);
  });
  for (const range of form.querySelectorAll("[data-of]")) {
    range.hidden = false;
  }
}

onEachPage(start);
