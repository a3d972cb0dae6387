// What a reader has set in the viewer stays from image to image, until reset or until the tab is closed.
import { keep, kept } from "./tab_storage.js";

export const MAP_OPACITY = 100;

const KEY = "view";
const DEFAULTS = { window: { preset: "sent" }, inverted: false, opacity: MAP_OPACITY };

// An object whose properties are kept: `window`, `inverted` and `opacity` (of the map, in per cent).
export const viewSettings = new Proxy({ ...DEFAULTS, ...kept(KEY) }, {
  set(settings, name, value) {
    settings[name] = value;
    keep(KEY, settings);
    return true;
  },
});
