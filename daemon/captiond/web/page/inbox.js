// The inbox: what lies in it and why, and files that are dropped onto the page.

import { json, me, token } from "./api.js";
import { bytes, plural, sentence } from "./words.js";

const $ = (id) => document.getElementById(id);
const SOUND = new Set(["waiting", "settling", "untold", "in_work", "deferred", "changing", "unlooked"]);
const NAMES = {
  waiting: "Waiting", settling: "Settling", untold: "Settling", changing: "Settling", unlooked: "Waiting",
  in_work: "In work", deferred: "Later", held: "Held", unfinished: "Unfinished", forsaken: "Left over",
  partial: "Not whole", faulty: "Faulty", unreadable: "Unreadable", ignored: "Ignored", companion: "Companion",
  unserved: "Not served",
};
const TOGETHER = 2;
const AGAIN_MS = 5000;
const TRIES = 5;

let told = { tell() {}, guarded: (act) => act() };
const queue = []; // { file, path, item, sent }
let sending = 0;

export function begin(options) {
  told = options;
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    for (const file of $("files").files) add(file, file.webkitRelativePath || file.name);
    $("files").value = "";
  });
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
    told.dropped();
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
  const item = document.createElement("li");
  const [name, bar, words] = ["span", "progress", "span"].map((kind) => document.createElement(kind));
  name.textContent = path;
  name.dir = "auto";
  name.className = "path";
  bar.max = file.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${path}`);
  words.className = "facts";
  words.textContent = bytes(file.size);
  item.append(name, bar, words);
  $("uploads").append(item);
  queue.push({ file, path, item, bar, words, tries: 0 });
  showUploads();
  next();
}

function next() {
  while (sending < TOGETHER && queue.length) {
    sending++;
    send(queue.shift());
  }
}

// XMLHttpRequest, since fetch tells nothing of how much has been sent.
function send(one) {
  const request = new XMLHttpRequest();
  const path = one.path.split("/").map(encodeURIComponent).join("/");
  request.open("PUT", `api/inbox/${path}?modified=${one.file.lastModified / 1000}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  if (token.get()) request.setRequestHeader("Authorization", `Bearer ${token.get()}`);
  request.upload.onprogress = ({ loaded }) => { one.bar.value = loaded; };
  request.onloadend = () => {
    sending--;
    if (request.status === 201) {
      one.item.remove();
      told.tell(`${one.path} is in the inbox.`);
    } else if ([0, 429, 503].includes(request.status) && ++one.tries < TRIES) {
      one.words.textContent = "tried again in a moment";
      setTimeout(() => { queue.push(one); next(); }, AGAIN_MS);
    } else {
      one.words.textContent = reason(request);
      one.item.classList.add("refused");
      one.bar.remove();
    }
    showUploads();
    next();
  };
  request.send(one.file);
}

function reason(request) {
  try {
    return sentence(JSON.parse(request.responseText).detail);
  } catch {
    return request.status ? `The door answers ${request.status}.` : "The daemon does not answer.";
  }
}

function showUploads() {
  $("uploads").hidden = !$("uploads").children.length;
}

export async function show() {
  const { files, is_all: isAll, unserved } = await json("api/inbox");
  $("adding").hidden = me.role === "look";
  $("lying").replaceChildren(...files.map(line));
  const left = files.length ? (isAll ? "" : `The first ${files.length.toLocaleString()} of more.`) : "The inbox is empty.";
  const kinds = unserved.map((one) => `${one.files.toLocaleString()} ${one.kind} (${one.advice})`).join(", ");
  $("lying-note").textContent = [kinds && `Not served: ${kinds}.`, left].filter(Boolean).join(" ");
  return plural(files.length, "file", "files");
}

function line({ path, state, sentence: words }) {
  const item = document.createElement("li");
  item.dataset.state = SOUND.has(state) ? "sound" : ["ignored", "companion"].includes(state) ? "aside" : "stuck";
  const [badge, name, why] = ["span", "span", "span"].map((kind) => document.createElement(kind));
  badge.className = "badge";
  badge.textContent = NAMES[state] ?? state;
  name.className = "path";
  name.textContent = path;
  name.dir = "auto";
  why.className = "why-here";
  why.textContent = sentence(words.replace(/^ignored: /, ""));
  why.dir = "auto";
  item.append(badge, name, why);
  return item;
}
