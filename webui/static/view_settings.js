// What a reader has set in the viewer stays from image to image, until reset or until the tab is closed.

const KEY = "nightread.view";
export const MAP_OPACITY = 100;
const DEFAULTS = { window: { preset: "sent" }, inverted: false, opacity: MAP_OPACITY };

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

// An object whose properties are kept: `window`, `inverted` and `opacity` (of the map, in per cent).
export const viewSettings = new Proxy({ ...DEFAULTS, ...stored() }, {
  set(settings, name, value) {
    settings[name] = value;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(settings));
    } catch {
      // Without storage, each image begins with the defaults.
    }
    return true;
  },
});
