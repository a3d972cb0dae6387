// Keys that do something, on a page where a person may also be writing.

function isWriting(element) {
  return element.matches("textarea, select, input:not([type=checkbox], [type=range])");
}

// `actions` maps a key in lower case to a function. A key that is held down repeats only if it
// is in `repeatable`; Escape leaves a field.
export function onKeys(actions, { repeatable = [], unless = () => false } = {}) {
  document.addEventListener("keydown", (event) => {
    const writing = isWriting(event.target);
    if (writing && event.key === "Escape") {
      event.target.blur();
    }
    const key = event.key.toLowerCase();
    const action = actions[key];
    const busy = writing || event.ctrlKey || event.metaKey || event.altKey || unless();
    if (busy || !action || (event.repeat && !repeatable.includes(key))) {
      return;
    }
    event.preventDefault();
    action();
  });
}
