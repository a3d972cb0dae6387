// Drafts of notes: kept in this tab for one image and one person until they are sent, so that they survive a reload and a
// look at another image. The browser removes them when the tab is closed, and when the person signs out.

const PREFIX = "draft:";

// The page after a reading says whose reading of which image was recorded.
for (const said of document.querySelectorAll("[data-sent]")) {
  for (const key of Object.keys(sessionStorage)) {
    const draft = `${PREFIX}${said.dataset.sent}`;
    if (key === draft || key.startsWith(`${draft}:`)) {
      sessionStorage.removeItem(key);
    }
  }
}

// Fills the fields of a form from its draft, and keeps what is typed. `onChange(isKept)` is called with every change.
export function keepDraft(form, onChange) {
  const key = `${PREFIX}${form.dataset.draft}`;
  const fields = [...form.querySelectorAll("textarea")];
  const kept = JSON.parse(sessionStorage.getItem(key) ?? "{}");
  for (const field of fields) {
    field.value = kept[field.name] ?? field.value;
  }
  const show = () => onChange(sessionStorage.getItem(key) !== null);
  form.addEventListener("input", () => {
    const words = Object.fromEntries(fields.map((field) => [field.name, field.value]));
    if (fields.some((field) => field.value !== field.defaultValue)) {
      sessionStorage.setItem(key, JSON.stringify(words));
    } else {
      sessionStorage.removeItem(key);
    }
    show();
  });
  show();
}
