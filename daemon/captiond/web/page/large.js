// One picture as large as the window: by click or Enter, with all that is known of it, and a link to share.

import * as again from "./again.js";
import { ask, json, mayEdit } from "./api.js";
import { altText, mayBeSeen } from "./cards.js";
import { editing } from "./editing.js";
import { facts, formerWords } from "./facts.js";
import { acting } from "./forms.js";
import * as sheet from "./sheet.js";
import { texts, warnings } from "./texts.js";
import { note, said, sentence } from "./words.js";

const dialog = document.getElementById("large");
const of = (selector) => dialog.querySelector(selector);
const image = of("img");
const LARGEST = 2560;
const SMALLER = 640;
const SMALL_WINDOW = 480;
const drafts = new Map();

let told = { tell() {}, changed() {}, moved() {}, opened() {}, closed() {} };
let current = null;
let editor = null;
let sharp = null; // the address of the picture in full, if it is shown
let loading = new AbortController();

export const isOpen = () => dialog.open;
export const close = () => dialog.close();

export function begin(options) {
  told = options;
  of(".close").addEventListener("click", () => dialog.close());
  of(".previous").addEventListener("click", () => step(-1));
  of(".next").addEventListener("click", () => step(1));
  of(".edit").addEventListener("click", edit);
  of(".accept").addEventListener("click", accept);
  of(".redo").addEventListener("click", redo);
  of(".undo").addEventListener("click", undo);
  of(".retry").addEventListener("click", retry);
  of(".share").addEventListener("click", share);
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
  again.begin({ tell: told.tell, answered: take, putBack: undo, shown: () => { if (current?.path) show(current); } });
  dialog.addEventListener("close", () => {
    loading.abort();
    again.forget();
    forgetImage();
    const id = current?.id;
    current = null;
    told.closed(id);
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const KEYS = {
  ArrowLeft: () => step(-1), k: () => step(-1), ArrowRight: () => step(1), j: () => step(1),
  a: () => accept(), e: () => edit(), u: () => undo(), r: () => (current?.folder === "failed" ? retry() : redo()),
};

export async function look(id) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  if (!dialog.open) dialog.showModal();
  told.opened(id);
  forgetImage();
  of(".problem.outcome").textContent = "";
  of(".editing").hidden = true;
  again.forget();
  const at = sheet.place(id);
  // Not `disabled`: a button that has the focus would take the keys with it.
  of(".previous").setAttribute("aria-disabled", String(at <= 0));
  of(".next").setAttribute("aria-disabled", String(at < 0 || at + 1 >= sheet.numbers().length));
  of(".count").textContent = at < 0 ? "" : `${(at + 1).toLocaleString()} of ${sheet.numbers().length.toLocaleString()}`;
  current = sheet.told(id) ?? { id };
  if (current.path) {
    show(current);
    showFacts(current);
    preview(current);
  }
  try {
    const picture = await json(`api/pictures/${id}`, { signal });
    if (signal.aborted) return;
    current = picture;
    show(picture);
    showFacts(picture);
    if (drafts.has(id) && !of(".edit").hidden) editor.open(true);
    await develop(picture, signal);
    await askForShot(picture, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) {
      dialog.close();
      return void told.guarded(() => { throw error; });
    }
    of(".why").textContent = error.message;
    if (!current.path) said(of(".caption"), "");
  }
}

export function step(by) {
  const id = sheet.numbers()[sheet.place(current?.id) + by];
  if (current && id !== undefined && of(".editing").hidden && !again.isAsking()) look(id);
}

function show(picture) {
  const failed = picture.folder === "failed";
  // Whoever writes already, before all is known of it, writes on.
  const isWriting = !of(".editing").hidden;
  of(".caption").hidden = of(".texts").hidden = isWriting || again.isComparing();
  of(".caption").textContent = failed ? sentence(picture.message ?? "") : (picture.caption ?? "");
  said(of(".advice"), failed ? picture.advice : null);
  said(of(".whereabouts"), note(picture));
  said(of(".models-words"), picture.model_caption && `The model said: ${picture.model_caption}`);
  of("h2").textContent = picture.path;
  image.alt = failed ? picture.path : altText(picture);
  of(".look").hidden = !picture.needs_look;
  of(".waits").hidden = !picture.awaits_approval;
  of(".texts").replaceChildren(...texts(picture));
  of(".warnings").replaceChildren(...warnings(picture.record));
  of(".warnings").hidden = !of(".warnings").children.length;
  const isThere = picture.is_there && mayEdit();
  of(".edit").hidden = failed || !isThere || isWriting;
  of(".accept").hidden = !(picture.needs_look || picture.awaits_approval) || !isThere;
  of(".accept").textContent = picture.awaits_approval ? "Approve" : "Looks right";
  of(".redo").hidden = failed || !isThere || isWriting || again.isAsking();
  of(".undo").hidden = failed || !isThere || isWriting || !picture.record?.history?.length;
  of(".retry").hidden = !failed || !isThere;
  if (!isWriting) editor = editing(of(".editing"), {
    picture,
    tell: told.tell,
    drafts,
    opened(isOpen) {
      of(".caption").hidden = of(".texts").hidden = isOpen;
      for (const name of [".edit", ".redo"]) of(name).hidden = isOpen;
      if (isOpen) of(".undo").hidden = true;
      else show(current);
      if (!isOpen) of(".edit").focus();
    },
    saved: take,
  });
}

// What the picture is now.
function take(now) {
  current = { ...current, ...now };
  show(current);
  showFacts(current);
  told.changed(now);
  told.reviewed();
  keepKeys();
}

// A button that was pressed and is hidden now would take the keys with it.
function keepKeys() {
  const at = document.activeElement;
  if (dialog.open && (!dialog.contains(at) || at.closest("[hidden]"))) [".redo", ".close"].map(of).find((button) => !button.hidden).focus();
}

function showFacts(picture) {
  of("dl").replaceChildren(...facts(picture));
  const former = formerWords(picture.record);
  of(".before ol").replaceChildren(...former);
  of(".before").hidden = !former.length;
}

// From the file itself, so it is asked for only once everything else is there.
async function askForShot(picture, signal) {
  if (!picture.is_there) return;
  const shot = await json(`api/pictures/${picture.id}/shot`, { signal });
  if (signal.aborted) return;
  current = { ...current, shot };
  showFacts(current);
}

async function develop(picture, signal) {
  if (!mayBeSeen(picture)) {
    of(".why").textContent = picture.is_there ? "nothing to show" : "not here any more";
    return;
  }
  const isSmall = Math.max(innerWidth, innerHeight) * devicePixelRatio <= SMALL_WINDOW;
  const answer = await ask(`api/pictures/${picture.id}/thumbnail?side=${isSmall ? SMALLER : LARGEST}`, { signal });
  const content = await answer.blob();
  if (signal.aborted) return;
  sharp = URL.createObjectURL(content);
  frame(picture, sharp);
}

// What the sheet shows of it already, as large as it will be, until it is here in full.
function preview(picture) {
  const small = sheet.element(picture.id)?.querySelector("img[src]");
  if (small && picture.width) frame(picture, small.src);
}

function frame({ width, height }, address) {
  const scale = Math.min(1, LARGEST / Math.max(width, height));
  for (const [side, pixels] of [["width", width], ["height", height]]) {
    if (pixels) image.setAttribute(side, Math.round(pixels * scale));
    else image.removeAttribute(side);
  }
  image.src = address;
  image.hidden = false;
}

function forgetImage() {
  if (sharp) URL.revokeObjectURL(sharp);
  sharp = null;
  image.removeAttribute("src");
  image.hidden = true;
  of(".why").textContent = "";
}

function edit() {
  if (of(".edit").hidden) return;
  again.forget();
  editor.open(true);
}

// The next one follows by itself: reviewing is a key for each picture.
function accept() {
  if (of(".accept").hidden) return;
  acting(dialog, of(".outcome"), [of(".accept")], async () => {
    const { id, awaits_approval: waited } = current;
    const now = await json(`api/pictures/${id}/accept`, { method: "POST" });
    told.changed(now);
    told.reviewed();
    if (current?.id !== id) return;
    current = { ...current, ...now };
    show(current);
    showFacts(current);
    told.tell(`${current.path} is ${waited ? "approved" : "accepted"}.`);
    step(1);
  }).then(keepKeys);
}

function redo() {
  if (of(".redo").hidden) return;
  again.open(current);
}

// By the daemon, which knows the former texts and whose they were: after an edit and after a redo alike.
async function undo() {
  const controls = [of(".undo"), of(".put-back")];
  if (of(".undo").hidden || controls.some(({ disabled }) => disabled)) return;
  const { id } = current;
  await acting(dialog, of(".outcome"), controls, async () => {
    const now = await json(`api/pictures/${id}/undo`, { method: "POST" });
    if (current?.id !== id) return void told.changed(now);
    again.forget();
    take(now);
    told.tell("The former words are back.");
  });
  keepKeys();
}

function retry() {
  const button = of(".retry");
  if (button.hidden) return;
  acting(dialog, of(".outcome"), [button], async () => {
    const { inbox } = await json(`api/pictures/${current.id}/retry`, { method: "POST" });
    button.hidden = true;
    said(of(".whereabouts"), `Put back into the inbox as ${inbox}.`);
    told.tell(`${current.path} was put back into the inbox.`);
    told.moved();
  }).then(keepKeys);
}

async function share() {
  const link = new URL(`?picture=${current.id}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    told.tell("The link is copied.");
    of(".share").textContent = "Copied";
    setTimeout(() => { of(".share").textContent = "Copy link"; }, 2000);
  } catch {
    said(of(".whereabouts"), link); // the clipboard is for secure addresses alone
  }
}
