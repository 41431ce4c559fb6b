// Asking the model again about what is delivered, and choosing between what was there and what it says now.

import { json } from "./api.js";
import { element } from "./dom.js";
import { acting, keys } from "./forms.js";
import * as sheet from "./sheet.js";
import { NAMES, textsOf } from "./texts.js";
import { plural } from "./words.js";

const dialog = document.getElementById("large");
const of = (selector) => dialog.querySelector(selector);
const form = of(".asking");
const ASK_EVERY_MS = 1000;
const LOOK_EVERY_MS = 3000; // at many
const PATIENCE_MS = 120_000;
const MOST = 200; // pictures at a time
const PAGE = 100;
const LATER = "Not described yet: new pictures come first, and what was changed meanwhile is left as it is. “captiond redo --list” tells more.";

let options = { tell() {}, answered() {}, putBack() {}, shown() {} };
let current = null;
let waiting = new AbortController();

// `answered` is told what the picture is now, `putBack` takes the former texts, `shown` hears that something
// here was shown or went.
export function begin(given) {
  options = given;
  form.querySelector(".cancel").onclick = leave;
  keys(form, { leave, send: ask });
  of(".keep").onclick = () => {
    forget();
    of(".redo").focus();
    options.tell("The new words stay.");
  };
  of(".put-back").onclick = () => options.putBack();
}

export const isAsking = () => !form.hidden;
export const isComparing = () => !of(".compared").hidden;

export function open(picture) {
  forget();
  current = picture;
  form.hidden = false;
  options.shown();
  form.elements.prompt.focus();
}

function leave() {
  forget();
  of(".redo").focus();
}

// Nothing is asked for, waited for or compared any more; what the daemon was asked for, it does.
export function forget() {
  waiting.abort();
  current = null;
  form.hidden = of(".compared").hidden = true;
  form.elements.prompt.value = "";
  of(".awaited").textContent = "";
  options.shown();
}

function ask() {
  const [picture, prompt] = [current, form.elements.prompt.value.trim()];
  return acting(form, of(".outcome"), form.querySelectorAll("button, textarea"), async () => {
    const { list } = await json(`api/pictures/${picture.id}/redo`, { method: "POST", body: prompt ? { prompt } : {} });
    if (current !== picture) return;
    leave();
    waiting = new AbortController();
    follow(picture, list, waiting.signal);
  });
}

async function follow(picture, list, signal) {
  const said = (words) => {
    of(".awaited").textContent = words;
    options.tell(words);
  };
  said("Asked again; new pictures come first.");
  try {
    const now = await described(picture.id, list, signal);
    if (!now) return void said(LATER);
    options.answered(now);
    compare(picture, now, said);
  } catch (error) {
    if (error.name !== "AbortError") said(error.message);
  }
}

// By its own sidecar, since the model may say the same again; null if that takes too long.
async function described(id, list, signal) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end;) {
    await pause(ASK_EVERY_MS);
    signal.throwIfAborted();
    const now = await unlessAway(() => json(`api/pictures/${id}`, { signal }));
    if (now?.record?.history?.some((former) => former.list === list)) return now;
  }
  return null;
}

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// A daemon that starts anew, or files that are just exchanged, are worth another look.
async function unlessAway(look) {
  try {
    return await look();
  } catch (error) {
    if (error.name === "AbortError" || error.status === 401 || error.status === 403) throw error;
    return null;
  }
}

function compare(former, now, said) {
  const [was, is] = [everyText(former), everyText(now)];
  const names = Object.keys(is).filter((name) => JSON.stringify(was[name]) !== JSON.stringify(is[name]));
  if (!names.length) return void said("Asked again, it says the same.");
  fill(of(".former"), was, names);
  fill(of(".fresh"), is, names);
  of(".compared").hidden = false;
  said("");
  options.tell("It was described again. Keep the new words, or put the old back.");
  options.shown();
  of(".keep").focus();
}

const everyText = (picture) => ({ ...textsOf(picture), visible_text: picture.fields?.visible_text ?? null });

function fill(column, all, names) {
  column.replaceChildren(...names.flatMap((name) => {
    const words = [all[name] ?? ""].flat().join(", ");
    const line = element("p", "", words || "(nothing)");
    line.dir = "auto";
    return NAMES[name] ? [element("p", "what", NAMES[name]), line] : [line];
  }));
}

// ---- many at once

// One after the other.  `told` hears how far it is; `changed` says whether it could show what changed.
export async function askAll(ids, { told, changed }) {
  const [some, asked, refused] = [ids.slice(0, MOST), [], []];
  for (const [at, id] of some.entries()) {
    told(`${at + 1} of ${some.length}`);
    try {
      await json(`api/pictures/${id}/redo`, { method: "POST" });
      asked.push(id);
    } catch (error) {
      if (error.status === 401) throw error;
      refused.push(error.message);
    }
  }
  told([
    `${plural(asked.length, "picture is", "pictures are")} asked about again; new pictures come first.`,
    ids.length > MOST && `Only the first ${MOST} of them.`,
    refused.length && `${refused.length.toLocaleString()} refused: ${[...new Set(refused)].slice(0, 3).join(" ")}`,
  ].filter(Boolean).join(" "));
  refresh(asked, changed).catch(() => {}); // the page asks for the token by itself
}

// What the sheet shows of them follows, for as long as one waits for an answer.
async function refresh(ids, changed) {
  const shown = new Map(ids.map((id) => [id, JSON.stringify(everyText(sheet.told(id) ?? {}))]));
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end && ids.length;) {
    for (let at = 0; at < ids.length; at += PAGE) {
      const found = await unlessAway(() => json(`api/pictures?ids=${ids.slice(at, at + PAGE)}`));
      for (const picture of found?.pictures ?? []) {
        const texts = JSON.stringify(everyText(picture));
        if (shown.get(picture.id) !== texts && changed(picture)) shown.set(picture.id, texts);
      }
    }
    await pause(LOOK_EVERY_MS);
  }
}
