// How long a page of the viewer lives: until the next image opens in its place, or the document ends.

let life = new AbortController();
const starts = [];

// A signal that is aborted at the end of the page: for listeners, timers and answers that come too late.
export function endOfPage() {
  return life.signal;
}

// Calls `start` for this page, and for each that opens in its place.
export function onEachPage(start) {
  starts.push(start);
  start();
}

// Calls `replace`, which puts the next page in the place of this one.
export function openPage(replace) {
  life.abort();
  life = new AbortController();
  replace();
  starts.forEach((start) => start());
}
