// Keyboard shortcuts that do nothing while a person types into a field.
import { endOfPage } from "./page_life.js";

function isTextField(element) {
  return element.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=range])");
}

// A key of the row of digits by its place, whatever letter or sign it has on this keyboard: `1`, or `shift+1`.
function digitOf(event) {
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code)?.[1];
  return digit && (event.shiftKey ? `shift+${digit}` : digit);
}

// `actions` maps a key in lower case to a function; digits are those of `digitOf`. A key that is held down repeats only if it
// is in `repeatable`. An action that returns false leaves the key to the browser. No key acts while `unless` returns true. Escape leaves a field.
export function onKeys(actions, { repeatable = [], unless = () => false } = {}) {
  document.addEventListener("keydown", (event) => {
    const typing = isTextField(event.target);
    if (typing && event.key === "Escape") {
      event.target.blur();
    }
    const digit = digitOf(event);
    const key = actions[digit] ? digit : event.key.toLowerCase();
    const action = actions[key];
    const ignored = typing || event.ctrlKey || event.metaKey || event.altKey || unless();
    if (ignored || !action || (event.repeat && !repeatable.includes(key))) {
      return;
    }
    if (action(event) !== false) {
      event.preventDefault();
    }
  }, { signal: endOfPage() });
}
