// The sheet: which pictures are on it, and how the daemon fares.  The daemon is right; this page only asks.

import { json, token } from "./api.js";
import { card, discard } from "./cards.js";

const ASK_EVERY_MS = 2000;
const TYPING_MS = 200;
const PAGE_LENGTH = 24;

const $ = (id) => document.getElementById(id);
const wanted = new URLSearchParams(location.search);
const view = { folder: wanted.get("folder") === "failed" ? "failed" : "done", search: wanted.get("q") ?? "" };
let newest = 0;
let older = null;
let finished = null; // how many pictures had left the inbox when the sheet was looked at last
let wasPaused = false;
let inbox = "";
let loading = new AbortController();
let timer = 0;

const plural = (count, one, many) => `${count.toLocaleString()} ${count === 1 ? one : many}`;
const tell = (words) => { $("told").textContent = words; };
const items = () => [...$("pictures").children];

// ---- the pictures

async function fetchPage({ before } = {}) {
  const query = new URLSearchParams({ folder: view.folder, limit: PAGE_LENGTH });
  if (view.search) query.set("search", view.search);
  if (before) query.set("before", before);
  return json(`/api/pictures?${query}`, { signal: loading.signal });
}

const made = (picture) => card(picture, { tell, moved: () => { finished = null; } });

async function showAll() {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  await guarded(async () => {
    const page = await fetchPage();
    if (signal.aborted) return;
    items().forEach(discard);
    $("pictures").append(...page.pictures.map(made));
    newest = page.pictures[0]?.id ?? 0;
    setOlder(page.older);
    showEmpty();
    if (view.search) tell(page.pictures.length ? "" : "Nothing found.");
  });
}

async function showNewer() {
  const { signal } = loading;
  await guarded(async () => {
    const page = await fetchPage();
    if (signal.aborted) return;
    const fresh = page.pictures.filter(({ id }) => id > newest);
    if (fresh.length === PAGE_LENGTH || (page.pictures[0]?.id ?? 0) < newest) return void showAll();
    $("pictures").prepend(...fresh.map(made));
    newest = Math.max(newest, fresh[0]?.id ?? 0);
    if (items().length === fresh.length) setOlder(page.older);
    showEmpty();
  });
}

async function showOlder() {
  await guarded(async () => {
    $("older").disabled = true;
    const page = await fetchPage({ before: older }).finally(() => { $("older").disabled = false; });
    const added = page.pictures.map(made);
    $("pictures").append(...added);
    setOlder(page.older);
    added[0]?.querySelector("button:not([hidden])")?.focus({ preventScroll: true });
    tell(`${plural(added.length, "older picture", "older pictures")} added.`);
  });
}

function setOlder(before) {
  older = before;
  $("older").hidden = before === null;
}

function showEmpty() {
  const empty = $("empty");
  empty.hidden = items().length > 0;
  if (!empty.hidden) empty.replaceChildren(...whyEmpty());
  $("retry-all").hidden = view.folder !== "failed" || !items().some((item) => !item.classList.contains("gone"));
}

function whyEmpty() {
  const line = (text, ...more) => {
    const paragraph = document.createElement("p");
    paragraph.append(text, ...more);
    return paragraph;
  };
  if (view.search) {
    const clear = document.createElement("button");
    clear.type = "button";
    clear.textContent = "Show all pictures";
    clear.addEventListener("click", () => {
      $("search").value = "";
      go({ search: "" });
      $("search").focus();
    });
    return [line(`No caption or file name holds “${view.search}”.`), line(clear)];
  }
  if (view.folder === "failed") {
    return [line("Nothing has failed."), line("A picture that cannot be captioned is shown here, with the reason.")];
  }
  const path = document.createElement("code");
  path.textContent = inbox || "the inbox";
  return [line("No picture has been captioned yet."), line("Put some into ", path, " and they appear here.")];
}

// ---- how the daemon fares

const STATES = { starting: "Loading the model", paused: "Paused", draining: "Stopping" };

function showStatus(status) {
  const { counts } = status;
  const waiting = counts.waiting + counts.settling;
  const isBusy = waiting + counts.in_work > 0;
  const words = STATES[status.state] ?? (isBusy ? "Captioning" : "Watching the inbox");
  if ($("state-text").textContent !== words) {
    $("state-text").textContent = words;
    if (status.state !== "watching") tell(`${words}.`);
  }
  $("state").dataset.state = status.hanging ? "paused" : isBusy && status.state === "watching" ? "busy" : status.state;
  const numbers = [];
  if (isBusy) numbers.push(`${waiting.toLocaleString()} waiting`, `${counts.in_work} in work`);
  if (isBusy && status.state === "watching" && status.rate_per_second >= 0.005) {
    numbers.push(rate(status.rate_per_second));
    if (status.seconds_to_finish >= 60) numbers.push(`${duration(status.seconds_to_finish)} left`);
  }
  $("numbers").textContent = numbers.join(" · ");
  const trouble = status.state === "paused"
    ? [status.pause_reason, status.pause_advice]
    : [status.hanging && `It stands still: ${status.hanging} hangs.`];
  const told = trouble.filter(Boolean).map(sentence).join(" ");
  if ($("pause").textContent !== told) $("pause").textContent = told;
  $("pause").hidden = !told;
  for (const folder of ["done", "failed"]) {
    const count = status.totals?.[folder];
    document.querySelector(`[data-count=${folder}]`).textContent = count ? count.toLocaleString() : "";
  }
  if (inbox !== status.inbox) {
    inbox = status.inbox;
    showEmpty();
  }
}

const sentence = (words) => words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");

function rate(perSecond) {
  return perSecond >= 1 ? `${perSecond.toFixed(1)} a second` : `${(perSecond * 60).toFixed(1)} a minute`;
}

function duration(seconds) {
  if (seconds < 3600) return `about ${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `about ${Math.round(seconds / 3600)} h` : `about ${Math.round(seconds / 86_400)} days`;
}

async function look() {
  clearTimeout(timer);
  if (document.hidden) return; // looks again when it is seen again
  await guarded(async () => {
    const status = await json("/api/status");
    showStatus(status);
    if (document.querySelector(".picture.open")) return; // nothing moves under somebody who writes
    const left = `${status.totals?.done ?? status.counts.done} ${status.totals?.failed ?? status.counts.failed}`;
    if (wasPaused && status.state !== "paused") await showAll(); // what was out of reach
    else if (finished !== null && finished !== left) await showNewer();
    wasPaused = status.state === "paused";
    finished = left;
  });
  clearTimeout(timer);
  if ($("entrance").hidden) timer = setTimeout(look, ASK_EVERY_MS);
}

// ---- the token, and what goes wrong

async function guarded(act) {
  try {
    await act();
    letIn();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) return void askForToken();
    $("state-text").textContent = error.message.replace(/\.$/, "");
    $("state").dataset.state = "paused";
    $("numbers").textContent = "";
    finished ??= "";
  }
}

function letIn() {
  $("tools").hidden = false;
  $("leave").hidden = !token.get();
}

function askForToken() {
  clearTimeout(timer);
  const isWrong = token.get() !== null;
  token.forget();
  items().forEach(discard);
  setOlder(null);
  for (const id of ["tools", "empty", "pause", "leave"]) $(id).hidden = true;
  $("state-text").textContent = "Locked";
  $("state").dataset.state = "unknown";
  $("numbers").textContent = "";
  $("token-error").textContent = isWrong ? "That is not the token." : "";
  $("entrance").hidden = false;
  $("token").value = "";
  $("token").focus();
}

$("entrance").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  if (!/^[!-~]+$/.test(given)) {
    $("token-error").textContent = "A token is one word.";
    return;
  }
  token.set(given);
  $("entrance").hidden = true;
  start();
});

$("leave").addEventListener("click", () => {
  token.forget();
  askForToken();
});

// ---- finding one's way

function go(change, { isNew = true } = {}) {
  Object.assign(view, change);
  const query = new URLSearchParams();
  if (view.folder !== "done") query.set("folder", view.folder);
  if (view.search) query.set("q", view.search);
  const address = query.size ? `/?${query}` : "/";
  if (isNew) history.pushState({ ...view }, "", address);
  else history.replaceState({ ...view }, "", address);
  mark();
  return showAll();
}

function mark() {
  for (const tab of document.querySelectorAll("[data-folder]")) {
    if (tab.dataset.folder === view.folder) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}

for (const tab of document.querySelectorAll("[data-folder]")) {
  tab.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go({ folder: tab.dataset.folder });
  });
}

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ search: $("search").value.trim() }, { isNew: false }), TYPING_MS);
});
$("searching").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  go({ search: $("search").value.trim() }, { isNew: false });
});

$("older").addEventListener("click", showOlder);
$("retry-all").addEventListener("click", () => guarded(async () => {
  $("retry-all").disabled = true;
  const { returned } = await json("/api/retry", { method: "POST" }).finally(() => {
    $("retry-all").disabled = false;
  });
  tell(`${plural(returned, "picture was", "pictures were")} put back into the inbox.`);
  await showAll();
}));

addEventListener("popstate", ({ state }) => {
  Object.assign(view, state ?? { folder: "done", search: "" });
  $("search").value = view.search;
  mark();
  showAll();
});
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea");
  if (event.key !== "/" || isTyping || event.metaKey || event.ctrlKey || event.altKey) return;
  event.preventDefault();
  $("search").focus();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

async function start() {
  $("search").value = view.search;
  mark();
  finished = null;
  await showAll();
  if ($("entrance").hidden) look();
}

start();
