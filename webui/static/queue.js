// The queue by keyboard: J and K walk through it, Enter opens, U takes the last reading back.
import { onKeys } from "./keys.js";

const rows = [...document.querySelectorAll(".queue .row")];

function walk(step) {
  const here = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, here + step))]?.focus();
}

function undo() {
  document.querySelector(".undo")?.requestSubmit();
}

onKeys({ j: () => walk(1), k: () => walk(-1), u: undo, z: undo }, { repeatable: ["j", "k"] });
