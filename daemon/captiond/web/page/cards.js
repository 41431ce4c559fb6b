// One picture on the sheet: what it shows, and what can be done with it.

import { ask, json, mayEdit } from "./api.js";
import { element } from "./dom.js";
import { editing } from "./editing.js";
import { acting } from "./forms.js";
import { briefly, exact, note, said, sentence } from "./words.js";

const UNDECODABLE = new Set(["unreadable", "truncated", "too_large", "too_many_pixels"]);
const [template, correcting] = ["picture", "correcting"].map((id) => document.getElementById(id));
const drafts = new Map();

const inSight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    inSight.unobserve(target);
    develop(target);
  }
}, { rootMargin: "400px" });

const inFull = new ResizeObserver((entries) => measure(entries.map(({ target }) => target.closest(".picture"))));

// `tell` says something to whoever listens to the page, `moved` that something has left its folder, `changed`
// that a picture is another now, `look` that somebody wants to see it large, `pick` that it is (de)selected.
export function card(picture, { tell, moved, changed, look, pick, isPicked }) {
  const item = template.content.firstElementChild.cloneNode(true);
  const of = (selector) => item.querySelector(selector);
  show(item, picture);
  const { id, folder, is_there: isThere } = picture;
  if (mayBeSeen(picture)) inSight.observe(item);
  else blank(item, isThere ? "nothing to show" : isThere === false ? "not here any more" : "out of reach");
  inFull.observe(of(".caption"));
  of(".whole").addEventListener("click", () => {
    const isOpen = of(".caption").classList.toggle("open");
    of(".whole").textContent = isOpen ? "Show less" : "Show all";
    of(".whole").setAttribute("aria-expanded", String(isOpen));
  });
  of(".frame").addEventListener("click", (event) => {
    if (event.shiftKey || event.ctrlKey || event.metaKey) pick(id, !isPicked(id), event.shiftKey);
    else look(id);
  });
  of(".opener").addEventListener("click", () => look(id));
  of(".opener").setAttribute("aria-label", `Look at ${picture.path}`);
  const box = of(".pick input");
  box.checked = isPicked(id);
  box.setAttribute("aria-label", `Select ${picture.path}`);
  item.classList.toggle("picked", box.checked);
  box.addEventListener("click", (event) => pick(id, box.checked, event.shiftKey));
  if (isThere && folder === "done" && mayEdit()) makeEditable(item, picture, { tell, changed });
  if (isThere && folder === "failed" && mayEdit()) makeRetriable(item, picture, { tell, moved });
  return item;
}

export const mayBeSeen = ({ is_there: isThere, kind }) => isThere && !UNDECODABLE.has(kind);

export function discard(item) {
  const caption = item.querySelector(".caption");
  if (caption) {
    inSight.unobserve(item);
    inFull.unobserve(caption);
    const { src } = item.querySelector("img");
    if (src) URL.revokeObjectURL(src);
  }
  item.remove();
}

export function show(item, picture) {
  const of = (selector) => item.querySelector(selector);
  const failed = picture.folder === "failed";
  const words = (failed ? picture.message : picture.caption) ?? "No more is known about it.";
  item.classList.toggle("failed", failed);
  item.classList.toggle("gone", !picture.is_there);
  item.classList.toggle("edited", Boolean(picture.edited_at));
  of(".caption").textContent = failed ? sentence(words) : words;
  of(".look").hidden = !picture.needs_look;
  of(".waits").hidden = !picture.awaits_approval;
  of("img").alt = failed ? picture.path : altText(picture);
  of(".path").textContent = picture.path;
  of(".path").title = picture.path;
  of("time").dateTime = picture.at;
  of("time").textContent = briefly(picture.at);
  of("time").title = exact(picture.at);
  of(".by").textContent = picture.edited_at ? "edited by hand" : (picture.model ?? "").split("/").at(-1);
  of(".by").title = picture.edited_at ? exact(picture.edited_at) : (picture.model ?? "");
  said(of(".advice"), failed ? picture.advice : null);
  said(of(".note"), note(picture));
}

// For those who do not see it: what was written for them, else the caption.
export const altText = ({ fields, caption }) => fields.alt_text ?? caption ?? "";

function blank(item, words) {
  item.classList.add("blank");
  item.querySelector(".why").textContent = words;
}

// The form is in the document only while somebody writes.
function makeEditable(item, picture, { tell, changed }) {
  const edit = item.querySelector(".edit");
  let current = picture;
  edit.hidden = false;
  edit.setAttribute("aria-label", `Edit the caption of ${picture.path}`);
  const write = (isAsked) => {
    const form = correcting.content.firstElementChild.cloneNode(true);
    form.querySelector("label").htmlFor = form.elements.caption.id = `caption-${picture.id}`;
    item.querySelector(".whole").after(form);
    const { open } = editing(form, {
      picture: current,
      tell,
      drafts,
      opened(isOpen) {
        item.classList.toggle("open", isOpen);
        edit.hidden = isOpen;
        if (isOpen) return measure([item]);
        edit.focus();
        form.remove();
        measure([item]);
      },
      saved(now) {
        current = now;
        show(item, now);
        changed(now);
      },
    });
    open(true, { isAsked });
  };
  edit.addEventListener("click", () => write(true));
  if (drafts.has(picture.id)) queueMicrotask(() => write(false));
}

function makeRetriable(item, picture, { tell, moved }) {
  const [acts, problem] = [element("p", "acts"), element("p", "problem")];
  const button = element("button", "retry", "Retry");
  button.type = "button";
  button.setAttribute("aria-label", `Retry ${picture.path}`);
  problem.setAttribute("role", "alert");
  acts.append(button);
  item.querySelector("figcaption").append(acts, problem);
  button.addEventListener("click", () => acting(item, problem, [button], async () => {
    const { inbox } = await json(`api/pictures/${picture.id}/retry`, { method: "POST" });
    item.classList.add("gone");
    acts.remove();
    said(item.querySelector(".note"), `Put back into the inbox as ${inbox}.`);
    tell(`${picture.path} was put back into the inbox.`);
    moved();
  }));
}

// Fetched rather than linked, since an <img> sends no token: so the page chooses what srcset would.
async function develop(item) {
  const image = item.querySelector("img");
  const pixels = item.querySelector(".frame").clientWidth * devicePixelRatio;
  try {
    const answer = await ask(`api/pictures/${item.dataset.id}/thumbnail?side=${pixels > 380 ? 640 : 320}`);
    const picture = await answer.blob();
    if (!item.isConnected) return;
    image.src = URL.createObjectURL(picture);
    image.hidden = false;
  } catch {
    blank(item, "nothing to show");
  }
}

// Whether there is more of a caption than is shown.  All are read before any is changed: otherwise the browser
// would lay out everything anew for each.
function measure(items) {
  const found = items.flatMap((item) => {
    const caption = item?.querySelector(".caption");
    if (!caption || caption.classList.contains("open")) return [];
    const isWhole = item.classList.contains("open") || caption.scrollHeight <= caption.clientHeight + 1;
    return [[item.querySelector(".whole"), isWhole]];
  });
  for (const [button, isWhole] of found) button.hidden = isWhole;
}
