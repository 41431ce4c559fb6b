// Which pictures are selected, and what can be done with all of them.

import { askAll } from "./again.js";
import { json, mayEdit } from "./api.js";
import * as sheet from "./sheet.js";
import { plural } from "./words.js";

const $ = (id) => document.getElementById(id);
const AT_ONCE = 500;
const WRITTEN_AT_ONCE = 50; // each has its picture written
const picked = new Set();
let isAsking = false;
let last = null; // from here shift reaches
let view = () => ({});

export const isPicked = (id) => picked.has(id);

export function pick(id, isPicked, isRange) {
  const [from, to] = [sheet.place(isRange && last !== null ? last : id), sheet.place(id)].sort((a, b) => a - b);
  for (const one of sheet.numbers().slice(Math.max(from, 0), to + 1)) {
    if (isPicked) picked.add(one);
    else picked.delete(one);
  }
  last = id;
  show();
}

export function clear() {
  picked.clear();
  last = null;
  show();
}

export function show() {
  for (const item of sheet.elements()) {
    const box = item.querySelector(".pick input");
    if (!box) continue;
    box.checked = picked.has(Number(item.dataset.id));
    item.classList.toggle("picked", box.checked);
  }
  document.body.classList.toggle("picking", picked.size > 0);
  $("picked").hidden = picked.size === 0;
  $("picked-count").textContent = `${picked.size.toLocaleString()} selected`;
  if (!isAsking) $("picked-told").textContent = "";
  $("pick-redo").hidden = view().folder !== "done" || !mayEdit();
  $("pick-approve").hidden = view().folder !== "done" || !mayEdit();
  $("pick-replace").hidden = view().folder !== "done" || !mayEdit();
  $("pick-retry").hidden = view().folder !== "failed" || !mayEdit();
}

export function begin({ tell, moved, guarded, view: current, replace, changed }) {
  view = current;
  $("pick-replace").addEventListener("click", () => guarded(() => replace(inOrder())));
  $("pick-redo").addEventListener("click", () => guarded(async () => {
    if (isAsking) return;
    isAsking = true;
    const told = (words) => { $("picked-told").textContent = words; };
    await askAll(inOrder(), { told, changed }).finally(() => { isAsking = false; });
  }));
  $("pick-all").addEventListener("click", () => {
    for (const id of sheet.numbers()) picked.add(id);
    show();
    tell(`${picked.size.toLocaleString()} selected.`);
  });
  $("pick-none").addEventListener("click", clear);
  $("pick-retry").addEventListener("click", () => guarded(async () => {
    const returned = await retry([...picked]);
    clear();
    tell(`${plural(returned, "picture was", "pictures were")} put back into the inbox.`);
    moved();
  }));
  $("pick-approve").addEventListener("click", () => guarded(async () => {
    const { approved, refused } = await approve(inOrder(), changed);
    picked.clear();
    for (const { id } of refused) picked.add(id);
    show();
    const why = refused.length ? ` These could not be: ${refused[0].why}.` : "";
    $("picked-told").textContent = why;
    tell(`${plural(approved, "picture was", "pictures were")} approved.${why}`);
  }));
  $("pick-export").addEventListener("click", () => guarded(async () => {
    save(await lines(inOrder(), (words) => { $("picked-told").textContent = words; }));
    tell(`${plural(picked.size, "caption", "captions")} exported.`);
  }));
}

export async function retry(ids) {
  let returned = 0;
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const some = { ids: ids.slice(at, at + AT_ONCE) };
    returned += (await json("api/retry", { method: "POST", body: some })).returned;
  }
  return returned;
}

async function approve(ordered, changed) {
  const all = { approved: 0, refused: [] };
  for (let at = 0; at < ordered.length; at += WRITTEN_AT_ONCE) {
    const ids = ordered.slice(at, at + WRITTEN_AT_ONCE);
    const { approved, refused } = await json("api/approve", { method: "POST", body: { ids } });
    all.approved += approved;
    all.refused.push(...refused);
    (await json(`api/pictures?ids=${ids}`)).pictures.forEach(changed);
  }
  return all;
}

// As on the sheet.
const inOrder = () => [...picked].sort((a, b) => sheet.place(a) - sheet.place(b));

// One JSON object a line; `told` hears how far it is.
async function lines(ordered, told) {
  const found = [];
  for (let at = 0; at < ordered.length; at += 100) {
    if (at) told(`${at.toLocaleString()} of ${ordered.length.toLocaleString()}`);
    const { pictures } = await json(`api/pictures?ids=${ordered.slice(at, at + 100)}`);
    found.push(...pictures.map((picture) => JSON.stringify(picture)));
  }
  told("");
  return found;
}

function save(told) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${told.join("\n")}\n`], { type: "application/x-ndjson" }));
  link.download = "captions.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
