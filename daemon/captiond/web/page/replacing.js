// Find and replace in the texts of the selected pictures: first shown, then done, and taken back in one go.

import { json } from "./api.js";
import { element } from "./dom.js";
import { textsOf } from "./texts.js";
import { plural } from "./words.js";

const dialog = document.getElementById("replacing");
const of = (selector) => dialog.querySelector(selector);
const form = of("form");
const MOST = 1000; // pictures at a time
const MOST_SHOWN = 100;
const AT_ONCE = 100;

let options = { tell() {}, guarded: (act) => act(), changed() {} };
let pictures = [];
let found = []; // { picture, was, now }
let done = []; // what can be taken back

export function begin(given) {
  options = given;
  form.addEventListener("input", preview);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (found.length && !of(".do").disabled) apply(found);
  });
  of(".back").addEventListener("click", () => {
    apply(done.map(({ picture, was, now }) => ({ picture, was: now, now: was })), true);
  });
  of(".close").addEventListener("click", () => dialog.close());
}

export async function open(ids) {
  [pictures, found, done] = [[], [], []];
  of(".problem").textContent = ids.length > MOST ? `Only the first ${MOST.toLocaleString()} of them.` : "";
  of(".back").hidden = true;
  dialog.showModal();
  preview();
  for (let at = 0; at < Math.min(ids.length, MOST); at += AT_ONCE) {
    const some = await json(`api/pictures?ids=${ids.slice(at, Math.min(at + AT_ONCE, MOST))}`);
    pictures.push(...some.pictures.filter(({ folder, is_there: isThere }) => folder === "done" && isThere));
  }
  preview();
}

function preview() {
  const { find, put, where, exactly } = form.elements;
  found = find.value ? pictures.map((picture) => changes(picture, find.value, put.value, where.value, exactly.checked)).filter(Boolean) : [];
  of(".count").textContent = find.value ? `${plural(found.length, "picture changes", "pictures change")}, of ${pictures.length.toLocaleString()}.` : "";
  of(".do").disabled = !found.length;
  of(".shown").replaceChildren(...found.slice(0, MOST_SHOWN).map(shown));
}

// What becomes of a picture's texts; null where nothing does.
function changes(picture, find, put, where, exactly) {
  const pattern = new RegExp(find.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), exactly ? "gu" : "giu");
  const swap = (words) => words.replace(pattern, () => put).replace(/\s+/g, " ").trim();
  const texts = textsOf(picture);
  const [was, now] = [{}, {}];
  for (const [name, words] of Object.entries(texts)) {
    if ((where !== "all" && where !== name) || !words) continue;
    const changed = Array.isArray(words) ? [...new Set(words.map(swap).filter(Boolean))] : swap(words) || null;
    if (!hit(words, pattern) || JSON.stringify(changed) === JSON.stringify(words)) continue;
    [was[name], now[name]] = [words, changed];
  }
  return Object.keys(now).length ? { picture, was, now } : null;
}

const hit = (words, pattern) => [words].flat().some((one) => one.search(pattern) >= 0);

function shown({ picture, was, now }) {
  const item = element("li");
  const path = element("p", "path", picture.path);
  path.dir = "auto";
  item.append(path);
  for (const name of Object.keys(now)) {
    const line = element("p");
    line.dir = "auto";
    line.append(element("del", "", told(was[name])), " ", element("ins", "", told(now[name]) || "(nothing)"));
    item.append(line);
  }
  return item;
}

const told = (words) => (Array.isArray(words) ? words.join(", ") : (words ?? ""));

// One after the other: each is an exchange of files, and what somebody else changed meanwhile is left alone.
async function apply(all, isBack = false) {
  const refused = [];
  const made = [];
  const controls = form.querySelectorAll("button, input, select");
  for (const control of controls) control.disabled = true;
  for (const [at, { picture, was, now }] of all.entries()) {
    of(".count").textContent = `${at + 1} of ${all.length}`;
    try {
      const answer = await json(`api/pictures/${picture.id}`, { method: "PATCH", body: { ...now, was } });
      made.push({ picture, was, now });
      pictures[pictures.findIndex(({ id }) => id === picture.id)] = answer;
      options.changed(answer);
    } catch (error) {
      refused.push(`${picture.path}: ${error.message}`);
      if (error.status === 401) break;
    }
  }
  for (const control of controls) control.disabled = false;
  done = isBack ? [] : made;
  preview();
  of(".back").hidden = !done.length;
  const words = `${plural(made.length, "picture", "pictures")} ${isBack ? "changed back" : "changed"}.`;
  of(".count").textContent = words;
  of(".problem").textContent = refused.slice(0, 5).join(" ") + (refused.length > 5 ? ` And ${refused.length - 5} more.` : "");
  options.tell(words);
}
