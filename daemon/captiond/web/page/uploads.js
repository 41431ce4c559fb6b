// Files that are put into the inbox: chosen, or dropped onto the page, whole folders too.
//
// Thousands may be dropped at once: those on their way are shown, what was refused, and how far all of it is.

import { me, token } from "./api.js";
import { arrange, element } from "./dom.js";
import { bytes, plural, sentence } from "./words.js";

const $ = (id) => document.getElementById(id);
const TOGETHER = 2;
const AGAIN_MS = 5000;
const TRIES = 5;
const MOST_SHOWN = 50; // refused ones
const PASSING = new Set([0, 429, 503]); // answers after which it is tried again

let options = { tell() {}, dropped() {} };
let batch = { files: 0, bytes: 0, sent: 0, there: 0 }; // since nothing was on its way
const waiting = [];
const sending = new Set();
const later = new Set(); // tried again in a moment
const refused = new Set();

export function begin(given) {
  options = given;
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    for (const file of $("files").files) add(file, file.webkitRelativePath || file.name);
    $("files").value = "";
  });
  $("uploads-again").addEventListener("click", () => {
    const all = [...refused];
    putAway();
    for (const { file, path } of all) add(file, path);
  });
  $("uploads-close").addEventListener("click", putAway);
  addEventListener("beforeunload", (event) => { if (isBusy()) event.preventDefault(); });
  takeDrops();
}

function takeDrops() {
  let depth = 0;
  const over = (isOver) => document.body.classList.toggle("dropping", isOver);
  const mayDrop = (event) => event.dataTransfer?.types.includes("Files") && $("entrance").hidden && me.role !== "look";
  addEventListener("dragenter", (event) => { if (mayDrop(event)) { depth++; over(true); } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); over(depth > 0); });
  addEventListener("dragover", (event) => { if (mayDrop(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    over(false);
    if (!mayDrop(event)) return;
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (entries.length) entries.forEach((entry) => walk(entry, ""));
    else for (const file of event.dataTransfer.files) add(file, file.name);
    options.dropped();
  });
}

// A folder, with all that is in it; a browser tells of a hundred at a time.
async function walk(entry, folder) {
  const path = folder + entry.name;
  if (entry.isFile) return void entry.file((file) => add(file, path));
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve) => { reader.readEntries(resolve, () => resolve([])); });
    if (!some.length) return;
    for (const inner of some) await walk(inner, `${path}/`);
  }
}

export function add(file, path) {
  if (path.split("/").some((part) => part.startsWith("."))) return; // .DS_Store and the like
  batch.files += 1;
  batch.bytes += file.size;
  waiting.push({ file, path, tries: 0, sent: 0 });
  next();
}

const isBusy = () => waiting.length + sending.size + later.size > 0;

function next() {
  while (sending.size < TOGETHER && waiting.length) send(waiting.shift());
  if (!isBusy() && batch.files) {
    if (batch.there) options.tell(`${plural(batch.there, "file is", "files are")} in the inbox.`);
    batch = { files: 0, bytes: 0, sent: 0, there: 0 };
  }
  show();
}

// XMLHttpRequest, since fetch tells nothing of how much has been sent.
function send(one) {
  sending.add(one);
  one.item ??= itemOf(one);
  const request = new XMLHttpRequest();
  const path = one.path.split("/").map(encodeURIComponent).join("/");
  request.open("PUT", `api/inbox/${path}?modified=${one.file.lastModified / 1000}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  if (token.get()) request.setRequestHeader("Authorization", `Bearer ${token.get()}`);
  request.upload.onprogress = ({ loaded }) => sent(one, loaded);
  request.onloadend = () => {
    sending.delete(one);
    answered(one, request);
    next();
  };
  request.send(one.file);
}

function answered(one, request) {
  if (request.status === 201) {
    sent(one, one.file.size);
    batch.there += 1;
  } else if (PASSING.has(request.status) && ++one.tries < TRIES) {
    one.words.textContent = "tried again in a moment";
    sent(one, 0);
    later.add(one);
    setTimeout(() => {
      later.delete(one);
      waiting.unshift(one);
      next();
    }, AGAIN_MS);
  } else {
    one.words.textContent = reason(request);
    one.item.classList.add("refused");
    one.bar.remove();
    sent(one, one.file.size);
    refused.add(one);
    options.tell(`${one.path}: ${one.words.textContent}`);
  }
}

function reason(request) {
  try {
    return sentence(JSON.parse(request.responseText).detail);
  } catch {
    return request.status ? `The door answers ${request.status}.` : "The daemon does not answer.";
  }
}

// ---- what is shown of them

function itemOf(one) {
  const item = element("li");
  const name = element("span", "path", one.path);
  name.dir = "auto";
  one.words = element("span", "facts", bytes(one.file.size));
  one.bar = element("progress");
  one.bar.max = one.file.size || 1;
  one.bar.value = 0;
  one.bar.setAttribute("aria-label", `Upload of ${one.path}`);
  item.append(name, one.bar, one.words);
  return item;
}

function sent(one, now) {
  batch.sent += Math.min(now, one.file.size) - one.sent;
  one.sent = Math.min(now, one.file.size);
  one.bar.value = one.sent;
  $("uploads-progress").value = batch.sent;
}

function show() {
  $("uploads").hidden = !isBusy() && !refused.size;
  const told = [
    isBusy() && `${batch.there.toLocaleString()} of ${plural(batch.files, "file is", "files are")} in the inbox`,
    refused.size && `${plural(refused.size, "file was", "files were")} refused`,
  ];
  $("uploads-count").textContent = told.filter(Boolean).join(" · ");
  $("uploads-progress").hidden = !isBusy();
  $("uploads-progress").max = batch.bytes || 1;
  for (const id of ["uploads-again", "uploads-close"]) $(id).hidden = isBusy() || !refused.size;
  const shown = [...sending, ...later, ...[...refused].slice(0, MOST_SHOWN)];
  arrange($("uploads-list"), shown.map(({ item }) => item));
}

function putAway() {
  refused.clear();
  show();
}
