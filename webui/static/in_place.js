// Opens the next image in the place of this one, without a new document. Its picture was fetched and decoded ahead, into
// the memory of this document: no browser may keep a picture, so there is nothing to find in its cache.
import { endOfPage, onEachPage, openPage } from "./page_life.js";
import { sayUnreachable } from "./staying.js";

const byId = (id) => document.getElementById(id);
// A proxy says that it has no answer.
const UNREACHABLE = [502, 503, 504];

// The picture of the image that probably comes next, and its address without the mark that it was fetched ahead.
let ahead = { url: null, picture: null };

// Waits for the picture on the screen, which needs the line for itself.
async function fetchAhead() {
  const { ahead: url } = document.querySelector(".image-area").dataset;
  const shown = byId("picture");
  if (!url || ahead.url === url) {
    return;
  }
  if (shown && !shown.complete) {
    await new Promise((done) => {
      ["load", "error"].forEach((end) => shown.addEventListener(end, done, { once: true }));
    });
  }
  const picture = new Image();
  ahead = { url, picture };
  picture.fetchPriority = "low";
  picture.src = `${url}&ahead=1`;
  const isDecoded = await picture.decode().then(() => true, () => false);
  if (isDecoded && ahead.picture === picture) {
    document.documentElement.dataset.ahead = url;
  }
}

// Puts the picture that was fetched ahead, or is on its way, in the place of the one that would be fetched.
function usePictureAhead(fetched) {
  const { picture, url } = ahead;
  const failed = picture?.complete && picture.naturalWidth === 0;
  if (!fetched || fetched.getAttribute("src") !== url || failed) {
    return () => {};
  }
  // An image that is moved to another document is fetched again, so the other one gives up its address first.
  fetched.removeAttribute("src");
  return () => {
    for (const { name, value } of fetched.attributes) {
      picture.setAttribute(name, value);
    }
    fetched.replaceWith(picture);
  };
}

function show(page, address) {
  const main = page.getElementById("main");
  const place = usePictureAhead(page.getElementById("picture"));
  openPage(() => {
    const { dataset } = document.documentElement;
    delete dataset.ready;
    delete dataset.ahead;
    document.title = page.title;
    byId("main").replaceWith(main);
    place();
    const isSame = new URL(address, location.href).href === location.href;
    window.history[isSame ? "replaceState" : "pushState"](null, "", address);
    window.scrollTo(0, 0);
    // Where a new document would begin.
    main.tabIndex = -1;
    main.focus({ preventScroll: true });
  });
}

// Opens an address, in place if `html` is the page of an image.
export function open(address, html) {
  const page = html ? new DOMParser().parseFromString(html, "text/html") : null;
  if (page?.body.classList.contains("viewing") && page.querySelector(".image-area")) {
    show(page, address);
  } else {
    location.assign(address);
  }
}

// The scripts that keep a page while Nightread cannot be reached come first.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("#next, #previous");
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) {
    return;
  }
  event.preventDefault();
  const ended = endOfPage();
  const answer = await fetch(link.href).catch(() => null);
  const html = answer && !UNREACHABLE.includes(answer.status) && await answer.text().catch(() => null);
  if (ended.aborted) {
    return;
  }
  if (html) {
    open(answer.url, answer.ok ? html : null);
  } else {
    sayUnreachable();
  }
});

// The address of the document that was loaded first, and of all that opened in its place, are entries of the history.
window.addEventListener("popstate", () => window.location.reload());

onEachPage(fetchAhead);
