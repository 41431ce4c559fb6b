// What another app shares with this page: kept here until the page, which has the token, puts it into the inbox.
// Every other request goes its own way.

const SHARED = "captiond-shared";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "POST" && url === new URL("share", self.registration.scope).href) event.respondWith(keep(event.request));
});

async function keep(request) {
  const files = (await request.formData()).getAll("file").filter((file) => file instanceof File);
  const kept = await caches.open(SHARED);
  for (const [at, file] of files.entries()) {
    const headers = { "X-Name": encodeURIComponent(file.name), "X-Modified": String(file.lastModified) };
    await kept.put(`shared/${Date.now()}-${at}`, new Response(file, { headers }));
  }
  return Response.redirect("./?folder=inbox", 303);
}
