// The page as an app of the device: what other apps share with it goes into the inbox.

const SHARED = "captiond-shared";

export function begin() {
  // Only where the address is safe: elsewhere browsers have neither of the two.
  navigator.serviceWorker?.register("worker.js").catch(() => {});
}

// Files that were shared and are not taken yet, each handed to `take` once.
export async function takeShared(take) {
  if (!globalThis.caches || !(await caches.has(SHARED))) return;
  const kept = await caches.open(SHARED);
  for (const request of await kept.keys()) {
    const answer = await kept.match(request);
    await kept.delete(request);
    const name = decodeURIComponent(answer.headers.get("X-Name") ?? "") || "shared.jpg";
    const lastModified = Number(answer.headers.get("X-Modified")) || Date.now();
    take(new File([await answer.blob()], name, { lastModified }), name);
  }
}
