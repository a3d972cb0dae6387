// A list of images. J and K move between rows, Enter opens one, U undoes the last reading.
import { onKeys } from "./keys.js";

function moveFocus(step) {
  const rows = [...document.querySelectorAll(".queue .row")];
  const index = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, index + step))]?.focus();
}

function undo() {
  document.querySelector(".undo")?.requestSubmit();
}

onKeys({ j: () => moveFocus(1), k: () => moveFocus(-1), u: undo, z: undo }, { repeatable: ["j", "k"] });
