// The reading queue: a filter applies at once.
const SETTLE_MS = 300;

const filters = document.getElementById("filters");
let settled;
let asked = 0;

// The address has only what was chosen.
filters.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) {
    if (value === filters.elements[name].dataset.default) {
      event.formData.delete(name);
    }
  }
});

// Only what depends on the filters is replaced, so the focus stays where it is.
async function apply() {
  const query = new URLSearchParams(new FormData(filters)).toString();
  const address = query ? `${filters.action}?${query}` : filters.action;
  const number = ++asked;
  const answer = await fetch(address).catch(() => null);
  const text = answer?.ok && !answer.redirected ? await answer.text().catch(() => null) : null;
  if (number !== asked) {
    return;
  }
  if (text === null) {
    window.location.assign(address);
    return;
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const id of ["heading", "list", "below"]) {
    document.getElementById(id).replaceWith(page.getElementById(id));
  }
  document.title = page.title;
  window.history.pushState(null, "", address);
  window.htmx.process(document.getElementById("list"));
  document.dispatchEvent(new Event("nightread:times"));
}

// Several keys may pass several choices: the page waits until the last one.
filters.addEventListener("change", () => {
  window.clearTimeout(settled);
  settled = window.setTimeout(apply, SETTLE_MS);
});
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  window.clearTimeout(settled);
  apply();
});
window.addEventListener("popstate", () => window.location.reload());
