// The inbox: what lies in it, and why.

import { json, me } from "./api.js";
import { arrange, element } from "./dom.js";
import { sentence } from "./words.js";

const $ = (id) => document.getElementById(id);
const SOUND = new Set(["waiting", "settling", "untold", "in_work", "deferred", "changing", "unlooked"]);
const ASIDE = new Set(["ignored", "companion"]);
const NAMES = {
  waiting: "Waiting", settling: "Settling", untold: "Settling", changing: "Settling", unlooked: "Waiting",
  in_work: "In work", deferred: "Later", held: "Held", unfinished: "Unfinished", forsaken: "Left over",
  partial: "Not whole", faulty: "Faulty", unreadable: "Unreadable", ignored: "Ignored", companion: "Companion",
  unserved: "Not served",
};
let lines = new Map(); // what is told of a file -> its line

export async function show() {
  const { files, is_all: isAll, unserved } = await json("api/inbox");
  $("adding").hidden = me.role === "look";
  const former = lines;
  lines = new Map(files.map((file) => {
    const told = JSON.stringify([file.path, file.state, file.sentence]);
    return [told, former.get(told) ?? line(file)];
  }));
  arrange($("lying"), [...lines.values()]);
  const left = files.length ? (isAll ? "" : `The first ${files.length.toLocaleString()} of more.`) : "The inbox is empty.";
  const kinds = unserved.map((one) => `${one.files.toLocaleString()} ${one.kind} (${one.advice})`).join(", ");
  const note = [kinds && `Not served: ${kinds}.`, left].filter(Boolean).join(" ");
  if ($("lying-note").textContent !== note) $("lying-note").textContent = note;
}

function line({ path, state, sentence: words }) {
  const item = element("li");
  item.dataset.state = SOUND.has(state) ? "sound" : ASIDE.has(state) ? "aside" : "stuck";
  const [name, why] = [element("span", "path", path), element("span", "why-here", sentence(words.replace(/^ignored: /, "")))];
  name.dir = why.dir = "auto";
  item.append(element("span", "badge", NAMES[state] ?? state), name, why);
  return item;
}
