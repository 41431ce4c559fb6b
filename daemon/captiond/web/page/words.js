// How things are said: numbers, times, sentences.

const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const earlier = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});
const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export const plural = (count, one, many) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

export function sentence(words) {
  return words && words[0].toUpperCase() + words.slice(1) + (/[.!?)]$/.test(words) ? "" : ".");
}

export const exact = (at) => exactly.format(new Date(at));

export function briefly(at) {
  const moment = new Date(at);
  return (moment.toDateString() === new Date().toDateString() ? today : earlier).format(moment);
}

export function rate(perSecond) {
  return perSecond >= 1 ? `${perSecond.toFixed(1)} a second` : `${(perSecond * 60).toFixed(1)} a minute`;
}

export function duration(seconds) {
  if (seconds < 3600) return `about ${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `about ${Math.round(seconds / 3600)} h` : `about ${Math.round(seconds / 86_400)} days`;
}

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  return count < 1e6 ? `${(count / 1e3).toFixed(0)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function said(element, words) {
  element.textContent = words ?? "";
  element.hidden = !words;
}

function ofLibrary({ library, folder, is_there: isThere }) {
  if (isThere === null) return `The library ${library} cannot be looked at just now.`;
  if (isThere || folder === "failed") return `It lies in the library ${library}.`;
  return `It has left the library ${library} since: moved, renamed, changed or removed.`;
}

// What became of a picture, where that is not plain to see.
export function note(picture) {
  if (picture.library) return ofLibrary(picture);
  if (picture.is_there === null) return `${picture.folder}/ cannot be looked at just now.`;
  if (!picture.is_there) {
    return picture.folder === "failed"
      ? "It has left failed/ since: put back, or taken away."
      : "It has left done/ since: moved, renamed or removed.";
  }
  const { written } = picture;
  if (picture.folder === "failed" || !written.length || written.some(({ action }) => action === "wrote")) {
    return null;
  }
  return `Only in the sidecar, not in the image: ${written[0].reason ?? written[0].action}.`;
}
