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

// Removes what `isOld(key)` chooses.
export function remove(isOld) {
  try {
    Object.keys(sessionStorage).filter(isOld).forEach((key) => sessionStorage.removeItem(key));
  } catch {
    // Nothing was kept.
  }
}
