// Drafts of notes: kept in this tab for one image and one person until they are sent, so that they survive a reload and a
// look at another image. The browser removes them when the tab is closed, and when the person signs out.
import { onEachPage } from "./page_life.js";
import { keep, kept, remove } from "./tab_storage.js";

const PREFIX = "draft:";

// Removes the drafts of one person for one image.
export function forgetDraft(name) {
  const draft = `${PREFIX}${name}`;
  remove((key) => key === draft || key.startsWith(`${draft}:`));
}

// The page after a reading says whose reading of which image was recorded.
onEachPage(() => {
  for (const said of document.querySelectorAll("[data-sent]")) {
    forgetDraft(said.dataset.sent);
  }
});

// Fills the fields of a form from its draft, and keeps what is typed. `onChange(isKept)` is called with every change.
export function keepDraft(form, onChange) {
  const draft = `${PREFIX}${form.dataset.draft}`;
  const fields = [...form.querySelectorAll("textarea")];
  const words = kept(draft);
  for (const field of fields) {
    field.value = words?.[field.name] ?? field.value;
  }
  const show = () => onChange(kept(draft) !== null);
  form.addEventListener("input", () => {
    if (fields.some((field) => field.value !== field.defaultValue)) {
      keep(draft, Object.fromEntries(fields.map((field) => [field.name, field.value])));
    } else {
      remove((key) => key === draft);
    }
    show();
  });
  show();
}
