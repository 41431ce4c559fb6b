// One picture on the sheet: what it shows, and what can be done with it.

import { ask, json } from "./api.js";

const UNDECODABLE = new Set(["unreadable", "truncated", "too_large", "too_many_pixels"]);

const template = document.getElementById("picture");
const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const earlier = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

const inSight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    inSight.unobserve(target);
    develop(target);
  }
}, { rootMargin: "400px" });

const inFull = new ResizeObserver((entries) => {
  for (const { target } of entries) measure(target.closest(".picture"));
});

// `tell` says something to whoever listens to the page, `moved` that something has left its folder.
export function card(picture, { tell, moved }) {
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.id = picture.id;
  const of = (selector) => item.querySelector(selector);
  show(item, picture);
  const { id, folder, is_there: isThere } = picture;
  if (isThere && !UNDECODABLE.has(picture.kind)) inSight.observe(item);
  else blank(item, isThere ? "nothing to show" : isThere === false ? "not here any more" : "out of reach");
  inFull.observe(of(".caption"));
  of(".whole").addEventListener("click", () => {
    const isOpen = of(".caption").classList.toggle("open");
    of(".whole").textContent = isOpen ? "Show less" : "Show all";
    of(".whole").setAttribute("aria-expanded", String(isOpen));
  });
  if (isThere && folder === "done") makeEditable(item, picture, tell);
  if (isThere && folder === "failed") {
    const button = of(".retry");
    button.hidden = false;
    button.setAttribute("aria-label", `Retry ${picture.path}`);
    button.addEventListener("click", () => acting(item, of(".outcome"), [button], async () => {
      const { inbox } = await json(`/api/pictures/${id}/retry`, { method: "POST" });
      item.classList.add("gone");
      button.hidden = true;
      said(of(".note"), `Put back into the inbox as ${inbox}.`);
      tell(`${picture.path} was put back into the inbox.`);
      moved();
    }));
  }
  return item;
}

export function discard(item) {
  inSight.unobserve(item);
  inFull.unobserve(item.querySelector(".caption"));
  const { src } = item.querySelector("img");
  if (src) URL.revokeObjectURL(src);
  item.remove();
}

function show(item, picture) {
  const of = (selector) => item.querySelector(selector);
  const failed = picture.folder === "failed";
  const words = failed ? picture.message : picture.caption;
  item.classList.toggle("failed", failed);
  item.classList.toggle("gone", !picture.is_there);
  item.classList.toggle("edited", Boolean(picture.edited_at));
  of(".caption").textContent = sentence(words ?? "No more is known about it.", failed);
  of("img").alt = failed ? picture.path : (picture.caption ?? "");
  of(".path").textContent = picture.path;
  of(".path").title = picture.path;
  const at = new Date(picture.at);
  const isToday = at.toDateString() === new Date().toDateString();
  of("time").dateTime = picture.at;
  of("time").textContent = (isToday ? today : earlier).format(at);
  of("time").title = exact.format(at);
  of(".by").textContent = picture.edited_at ? "edited by hand" : (picture.model ?? "").split("/").at(-1);
  of(".by").title = picture.edited_at ? exact.format(new Date(picture.edited_at)) : (picture.model ?? "");
  said(of(".advice"), failed ? picture.advice : null);
  said(of(".note"), note(picture));
}

function blank(item, words) {
  item.classList.add("blank");
  item.querySelector(".why").textContent = words;
}

function note(picture) {
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

function makeEditable(item, picture, tell) {
  const of = (selector) => item.querySelector(selector);
  const [form, field, edit] = [of(".editing"), of("textarea"), of(".edit")];
  const problem = form.querySelector(".problem");
  let current = picture;
  edit.hidden = false;
  edit.setAttribute("aria-label", `Edit the caption of ${picture.path}`);
  form.querySelector("label").htmlFor = field.id = `caption-${picture.id}`;

  function open(isOpen) {
    item.classList.toggle("open", isOpen);
    form.hidden = !isOpen;
    edit.hidden = isOpen;
    problem.textContent = "";
    if (isOpen) {
      field.value = current.caption;
      of(".models").hidden = !current.model_caption || current.model_caption === current.caption;
      fit(field);
      field.focus();
    } else {
      edit.focus();
    }
    measure(item);
  }

  function save() {
    const words = field.value.trim();
    if (words === current.caption) return open(false);
    const controls = form.querySelectorAll("button, textarea");
    return acting(item, problem, controls, async () => {
      current = await json(`/api/pictures/${current.id}/caption`, {
        method: "PUT", body: { caption: words, was: current.caption },
      });
      show(item, current);
      open(false);
      tell("The caption is saved.");
    });
  }

  edit.addEventListener("click", () => open(true));
  of(".cancel").addEventListener("click", () => open(false));
  of(".models").addEventListener("click", () => {
    field.value = current.model_caption;
    fit(field);
    field.focus();
  });
  field.addEventListener("input", () => fit(field));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      open(false);
    } else if (event.key === "Enter" && event.target === field && !event.shiftKey) {
      event.preventDefault();  // a caption is one line
      save();
    }
  });
}

// Nothing can be pressed twice meanwhile; what goes wrong is told where it happened.
async function acting(item, problem, controls, act) {
  problem.textContent = "";
  item.setAttribute("aria-busy", "true");
  const focused = document.activeElement;
  for (const control of controls) control.disabled = true;
  try {
    await act();
  } catch (error) {
    problem.textContent = error.message;
  } finally {
    for (const control of controls) control.disabled = false;
    item.removeAttribute("aria-busy");
    if (document.activeElement === document.body && focused?.isConnected && !focused.hidden) focused.focus();
  }
}

// Fetched rather than linked, since an <img> sends no token.
async function develop(item) {
  try {
    const answer = await ask(`/api/pictures/${item.dataset.id}/thumbnail`);
    const image = item.querySelector("img");
    image.src = URL.createObjectURL(await answer.blob());
    image.hidden = false;
  } catch {
    blank(item, "nothing to show");
  }
}

function measure(item) {
  const caption = item?.querySelector(".caption");
  if (!caption || caption.classList.contains("open")) return;
  item.querySelector(".whole").hidden =
    item.classList.contains("open") || caption.scrollHeight <= caption.clientHeight + 1;
}

function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function said(element, words) {
  element.textContent = words ?? "";
  element.hidden = !words;
}

function sentence(words, isOurs) {
  if (!isOurs || !words) return words;
  return words[0].toUpperCase() + words.slice(1) + (/[.!?)]$/.test(words) ? "" : ".");
}
