// The service worker: keeps every file of the folder, so that the page works without a network after the first load.
// `files.js` is written by the export, with the name of every file and a hash over all of them.

importScripts("files.js");

const { version, files } = self.FOLDER;
// Other folders of the same site have caches of their own.
const PREFIX = `nightread ${self.registration.scope} `;
const CACHE = PREFIX + version;

self.addEventListener("install", (event) => {
  // What the browser kept may be of an earlier version.
  const requests = files.map((file) => new Request(file, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  event.respondWith((async () => {
    const address = new URL(event.request.url);
    const name = address.href.startsWith(self.registration.scope) ? address.href.slice(self.registration.scope.length) : null;
    const file = name === "" ? "index.html" : name?.replace(/[?#].*$/, "");
    const kept = file !== undefined && await (await caches.open(CACHE)).match(file);
    return kept || fetch(event.request);
  })());
});
