// What a tab keeps until it is closed, or until the person signs out. A browser may refuse it: then nothing is kept.

export function kept(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

export function keep(key, value) {
  try {
    sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // A page works without it.
  }
}

// Returns the pairs of key and value whose key begins with `prefix`.
export function keptUnder(prefix) {
  try {
    return Object.keys(sessionStorage).filter((key) => key.startsWith(prefix)).map((key) => [key, kept(key)]).filter(([, value]) => value !== null);
  } catch {
    return [];
  }
}

// Removes what `isOld(key)` chooses.
export function remove(isOld) {
  try {
    Object.keys(sessionStorage).filter(isOld).forEach((key) => sessionStorage.removeItem(key));
  } catch {
    // Nothing was kept.
  }
}
