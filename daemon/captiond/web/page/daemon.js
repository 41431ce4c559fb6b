// The daemon itself: its numbers as small plots, the last lines of its log, its settings.  Read-only.

import { json } from "./api.js";
import { element } from "./dom.js";
import { plural } from "./words.js";

const $ = (id) => document.getElementById(id);
const DAYS = 30;
const MOST_LINES = 300;
const NUMBERS_EVERY_MS = 30_000;
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [300, 72];
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayName = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
let last = 0;
let counted = 0; // when the numbers were asked for

export async function show() {
  const isNew = Date.now() - counted > NUMBERS_EVERY_MS;
  const [log, settings, numbers] = await Promise.all([
    json(`api/log?after=${last}`),
    isNew && json("api/settings"),
    isNew && json(`api/numbers?days=${DAYS}&ahead_minutes=${-new Date().getTimezoneOffset()}`),
  ]);
  if (isNew) {
    counted = Date.now();
    showSettings(settings);
    showNumbers(numbers);
  }
  if (log.newest < last) forgetLog(); // the daemon was started anew
  showLog(log.lines);
}

// Nothing of it stays in the document of somebody who has left.
export function forget() {
  forgetLog();
  counted = 0;
  for (const id of ["settings", "plots"]) $(id).replaceChildren();
}

function forgetLog() {
  last = 0;
  $("log").replaceChildren();
}

export function begin() {
  $("level").addEventListener("change", () => { $("log").dataset.level = $("level").value; });
}

// ---- the log

function showLog(lines) {
  const first = lines[0]?.number;
  if (first !== undefined && first <= last) return; // asked twice at a time
  const isAtEnd = $("log").scrollTop + $("log").clientHeight >= $("log").scrollHeight - 4;
  $("log").append(...lines.map(line));
  last = lines.at(-1)?.number ?? last;
  while ($("log").children.length > MOST_LINES) $("log").firstElementChild.remove();
  if (isAtEnd) $("log").scrollTop = $("log").scrollHeight;
}

function line({ line: { timestamp, level, event, exception, ...more } }) {
  const item = element("li");
  item.dataset.level = level ?? "info";
  const time = element("time", "", timestamp ? clock.format(new Date(timestamp)) : "");
  if (timestamp) time.dateTime = timestamp;
  const rest = Object.entries(more).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const words = element("span", "", [level === "info" ? "" : level, event, ...rest].filter(Boolean).join(" "));
  words.dir = "auto";
  item.append(time, " ", words);
  if (exception) item.append(element("pre", "", exception));
  return item;
}

// ---- the settings

function showSettings({ file, settings }) {
  $("settings-file").textContent = file ? `Read from ${file}.` : "There is no settings file: these are the defaults.";
  $("settings").replaceChildren(...settings.map(({ key, value, where, profile }) => {
    const row = element("tr", where === "default" ? "default" : "");
    const name = element("th", "", profile ? `${key} (${profile})` : key);
    name.scope = "row";
    const shown = element("td");
    const code = element("code", "", typeof value === "string" ? value : JSON.stringify(value));
    code.dir = "auto";
    shown.append(code);
    row.append(name, shown, element("td", "where", where));
    return row;
  }));
}

// ---- the numbers

function showNumbers({ days, failures }) {
  const all = lastDays(days);
  const whole = (count) => count.toLocaleString();
  const plots = [
    plot("Pictures a day", all, ({ captioned, failed }) => captioned + failed, whole),
    plot("Seconds a picture", all, ({ seconds }) => seconds ?? 0, (seconds) => `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`),
    plot("Failures a day", all, ({ failed }) => failed, whole),
    kinds(failures),
  ];
  $("plots").replaceChildren(...plots);
}

function lastDays(days) {
  const known = new Map(days.map((day) => [day.day, day]));
  const today = new Date();
  return Array.from({ length: DAYS }, (_, at) => {
    const date = new Date(today.getFullYear(), today.getMonth(), today.getDate() - (DAYS - 1 - at));
    const parts = [date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0"));
    const found = known.get(`${date.getFullYear()}-${parts.join("-")}`);
    return { captioned: 0, failed: 0, seconds: null, ...found, date };
  });
}

function plot(title, days, valueOf, words) {
  const figure = element("figure", "plot");
  const values = days.map(valueOf);
  const most = Math.max(...values);
  const told = `today ${words(values.at(-1))}, at most ${words(most)}`;
  const caption = element("figcaption", "", title);
  caption.append(" ", element("span", "count", told));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} in ${DAYS} days: ${told}`, preserveAspectRatio: "none" });
  const step = WIDTH / days.length;
  picture.append(svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, class: "ground" }));
  values.forEach((value, at) => {
    const height = most ? (value / most) * (HEIGHT - 4) : 0;
    const bar = svg("rect", { x: at * step + 1, width: step - 2, y: HEIGHT - 1 - height, height, class: "bar" });
    const title = svg("title");
    title.textContent = `${dayName.format(days[at].date)}: ${words(value)}`;
    bar.append(title);
    picture.append(bar);
  });
  figure.append(caption, picture);
  return figure;
}

function kinds(failures) {
  const figure = element("figure", "plot");
  figure.append(element("figcaption", "", "Failures by kind"));
  const counts = Object.entries(failures);
  if (!counts.length) figure.append(element("p", "note", "Nothing has failed in this time."));
  const most = Math.max(...counts.map(([, count]) => count), 1);
  const list = element("ul", "kinds");
  list.setAttribute("role", "list");
  list.append(...counts.map(([kind, count]) => {
    const item = element("li", "", element("span", "", kind.replaceAll("_", " ") || "unknown"));
    const bar = svg("svg", { viewBox: "0 0 100 8", "aria-hidden": "true", preserveAspectRatio: "none" });
    bar.append(svg("rect", { x: 0, y: 0, height: 8, width: (count / most) * 100, class: "bar" }));
    item.append(bar, element("span", "count", plural(count, "picture", "pictures")));
    return item;
  }));
  figure.append(list);
  return figure;
}

function svg(kind, attributes = {}) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
