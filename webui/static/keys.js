// Keyboard shortcuts that do nothing while a person types into a field.

function isTextField(element) {
  return element.matches("textarea, select, input:not([type=checkbox], [type=range])");
}

// `actions` maps a key in lower case to a function. A key that is held down repeats only if it
// is in `repeatable`. An action that returns false leaves the key to the browser. No key acts while `unless` returns true. Escape leaves a field.
export function onKeys(actions, { repeatable = [], unless = () => false } = {}) {
  document.addEventListener("keydown", (event) => {
    const typing = isTextField(event.target);
    if (typing && event.key === "Escape") {
      event.target.blur();
    }
    const key = event.key.toLowerCase();
    const action = actions[key];
    const ignored = typing || event.ctrlKey || event.metaKey || event.altKey || unless();
    if (ignored || !action || (event.repeat && !repeatable.includes(key))) {
      return;
    }
    if (action(event) !== false) {
      event.preventDefault();
    }
  });
}
