// The second viewport: an earlier image of the same patient beside the present one, with its own zoom, position and window.
import { greyScaleOf, GreyWindow } from "./grey_window.js";
import { ImageView } from "./image_view.js";

const byId = (id) => document.getElementById(id);

export class Beside {
  // `main` is the ImageView of the present image.
  constructor(main) {
    this.main = main;
    this.section = byId("beside");
    this.chosen = byId("beside-image");
    this.link = byId("link-views");
    this.view = null;
    this.chosen.addEventListener("change", () => this.open());
    this.link.addEventListener("change", () => this.follow(main, this.view));
    byId("show-beside").addEventListener("click", () => this.toggle());
    byId("hide-beside").addEventListener("click", () => this.toggle());
    main.onChange(() => this.follow(main, this.view));
  }

  // Whether keys for the image act on this one.
  get isInFront() {
    return this.view !== null && byId("viewport").contains(document.activeElement);
  }

  // Each image is fetched when it is opened, so that the view of it is on record.
  toggle() {
    this.section.hidden = !this.section.hidden;
    byId("show-beside").setAttribute("aria-expanded", !this.section.hidden);
    if (this.section.hidden) {
      byId("show-beside").focus();
      byId("viewport").replaceChildren();
      this.view = null;
    } else {
      this.open();
    }
  }

  open() {
    const content = byId("viewport-template").content.cloneNode(true);
    const find = (name) => byId("viewport").querySelector(`[data-tool="${name}"]`);
    byId("viewport").replaceChildren(content);
    const [stage, sheet, picture, values, hint] = [".stage", ".sheet", "img", "canvas", ".hint"].map((part) => byId("viewport").querySelector(part));
    const { dataset, label, textContent, value } = this.chosen.selectedOptions[0];
    Object.assign(values.dataset, dataset);
    const view = new ImageView(stage, sheet, sizeOf(dataset), find);
    this.view = view;
    view.onChange(() => this.follow(view, this.main));
    this.follow(this.main, view);
    picture.alt = `Earlier chest X-ray ${label || textContent}`;
    picture.addEventListener("load", () => this.onShown(view, picture, values, find));
    picture.addEventListener("error", () => onFailed(picture, hint));
    hint.textContent = "The image is being loaded.";
    picture.addEventListener("load", () => { hint.textContent = ""; });
    // Another address each time: a browser shows one that it has in memory without asking, and no view would be on record.
    picture.src = `${value}&opened=${Date.now()}`;
  }

  async onShown(view, picture, values, find) {
    view.size = sizeOf(values.dataset, picture);
    view.applyPosition();
    const scale = await greyScaleOf(values, picture);
    if (scale && this.view === view) {
      find("window-shown").textContent = scale.text;
      // The window of this image is its own, and is not kept.
      view.setExposure(new GreyWindow(values, scale.grey, scale.load, { window: { preset: "sent" } }, find));
    }
  }

  // While both are linked, one view takes the zoom and the position of the other.
  follow(leader, follower) {
    if (leader && follower && this.link.checked && !this.isFollowing) {
      this.isFollowing = true;
      follower.place = leader.place;
      this.isFollowing = false;
    }
  }
}

// The size of the original in pixels, upright: the shape of its picture decides which side is which.
function sizeOf({ width, height }, picture = null) {
  const natural = { width: picture?.naturalWidth || 1, height: picture?.naturalHeight || 1 };
  const scale = Math.max(width, height, 1) / Math.max(natural.width, natural.height);
  return { width: natural.width * scale, height: natural.height * scale };
}

// The server says in plain text why there is no picture.
async function onFailed(picture, hint) {
  const answer = await fetch(picture.src).catch(() => null);
  const why = answer?.headers.get("Content-Type")?.startsWith("text/plain") ? await answer.text() : "";
  hint.textContent = `The earlier image cannot be displayed. ${why} Choose it again to try again.`;
}
