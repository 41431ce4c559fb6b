// The page: which pictures are on the sheet, who is let in, and what the keys do.  The daemon is right; this
// page only asks.

import { introduce, json, mayEdit, me, token } from "./api.js";
import { card } from "./cards.js";
import * as daemon from "./daemon.js";
import * as filters from "./filters.js";
import * as inbox from "./inbox.js";
import * as large from "./large.js";
import * as picks from "./picks.js";
import * as replacing from "./replacing.js";
import * as sharing from "./sharing.js";
import * as sheet from "./sheet.js";
import { added, showDropping, showLocked, showStatus, showTrouble, whyEmpty } from "./status.js";
import * as uploads from "./uploads.js";
import { plural } from "./words.js";

const ASK_EVERY_MS = 2000;
const TYPING_MS = 200;
const NEAR_TOP_PIXELS = 200;

const OTHERS = { inbox: inbox.show, daemon: daemon.show }; // views without pictures
const $ = (id) => document.getElementById(id);
const view = filters.fromAddress();
const waiting = { fresh: [] }; // new pictures that are not on the sheet yet, since somebody looks further down
let newest = 0;
let finished = null; // how many pictures had left the inbox when the sheet was looked at last
let wasPaused = false;
let inboxPath = "";
let loading = new AbortController();
let timer = 0;

const MAY = { look: "look", edit: "edit", drop: "add pictures" };

const tell = (words) => { $("told").textContent = words; };
const moved = () => { finished = null; };
const isTyping = () => document.querySelector(".picture.open");

// ---- the pictures

async function showAll() {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  for (const other in OTHERS) $(other).hidden = view.folder !== other;
  if (view.folder in OTHERS) {
    sheet.show([]);
    hold([]);
    picks.clear();
    for (const id of ["empty", "retry-all"]) $(id).hidden = true;
    return void (await guarded(OTHERS[view.folder]));
  }
  await guarded(async () => {
    const { ids } = await json(`api/ids?${filters.query(view)}`, { signal });
    if (signal.aborted) return;
    newest = ids[0] ?? 0;
    hold([]);
    picks.clear();
    sheet.show(ids);
    showEmpty();
    if (view.search || filters.isFiltered(view)) tell(ids.length ? `${plural(ids.length, "picture", "pictures")} found.` : "Nothing found.");
  });
}

async function showNewer() {
  const { signal } = loading;
  await guarded(async () => {
    const { ids } = await json(`api/ids?${filters.query(view, { after: newest })}`, { signal });
    if (signal.aborted) return;
    if (!ids.length && !sheet.numbers().length) return;
    if (!ids.length) return void (await checkHistory(signal));
    newest = ids[0];
    hold([...ids, ...waiting.fresh]);
    if (scrollY < NEAR_TOP_PIXELS && !large.isOpen()) takeIn();
  });
}

// A history that was deleted begins with small numbers again.
async function checkHistory(signal) {
  const { pictures } = await json(`api/pictures?${filters.query(view, { limit: 1 })}`, { signal });
  if ((pictures[0]?.id ?? 0) < newest) await showAll();
}

function hold(fresh) {
  waiting.fresh = fresh;
  $("newer").hidden = !fresh.length;
  $("newer").textContent = fresh.length ? `Show ${added(fresh.length)}` : "";
}

function takeIn() {
  const { fresh } = waiting;
  hold([]);
  sheet.prepend(fresh);
  showEmpty();
}

function showEmpty() {
  const isEmpty = sheet.numbers().length === 0;
  $("empty").hidden = !isEmpty;
  const clear = () => {
    $("search").value = "";
    go({ search: "", ...filters.unfiltered() });
    $("search").focus();
  };
  if (isEmpty) $("empty").replaceChildren(...whyEmpty({ view, isFiltered: filters.isFiltered(view), inbox: inboxPath, clear }));
  $("retry-all").hidden = view.folder !== "failed" || isEmpty || !mayEdit();
}

// ---- how the daemon fares

async function look() {
  clearTimeout(timer);
  if (document.hidden) return; // looks again when it is seen again
  await guarded(async () => {
    if (me.role === "drop") return void (await inbox.show());
    const status = await json("api/status");
    showStatus(status, tell);
    const [needing, isWanted] = [status.totals?.to_review ?? 0, status.pause_wanted];
    document.body.classList.toggle("approving", Boolean(status.totals?.awaits_approval));
    $("review").hidden = !needing || !filters.isSheet(view);
    $("review").textContent = `Review ${needing.toLocaleString()}`;
    $("rest").hidden = !mayEdit() || !(isWanted || status.state === "watching");
    $("rest").textContent = isWanted ? "Resume" : "Pause";
    $("rest").dataset.act = isWanted ? "resume" : "pause";
    await OTHERS[view.folder]?.();
    if (inboxPath !== status.inbox) {
      inboxPath = status.inbox;
      if (filters.isSheet(view)) showEmpty();
    }
    if (isTyping()) return; // nothing moves under somebody who writes
    const left = `${status.totals?.done ?? status.counts.done} ${status.totals?.failed ?? status.counts.failed}`;
    if (wasPaused && status.state !== "paused") await showAll(); // what was out of reach
    else if (filters.isSheet(view) && finished !== null && finished !== left) await showNewer();
    wasPaused = status.state === "paused";
    finished = left;
  });
  clearTimeout(timer);
  if ($("entrance").hidden) timer = setTimeout(look, ASK_EVERY_MS);
}

// ---- the token, and what goes wrong

// Whether it was done.
async function guarded(act) {
  try {
    await act();
    letIn();
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    if (error.status === 401) askForToken();
    else showTrouble(error.message);
    finished ??= "";
    return false;
  }
}

function letIn() {
  $("tools").hidden = false;
  $("leave").hidden = !token.get();
  $("me").textContent = me.name ? `You are ${me.name}, who may ${MAY[me.role]}.` : "";
}

function askForToken() {
  clearTimeout(timer);
  const isWrong = token.get() !== null;
  token.forget();
  sheet.show([]);
  daemon.forget();
  for (const id of ["tools", "empty", "pause", "leave", "filters", "inbox", "daemon"]) $(id).hidden = true;
  showLocked();
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
  if (isNew) history.pushState(null, "", filters.address(view));
  else history.replaceState(null, "", filters.address(view));
  mark();
  scrollTo({ top: 0, behavior: "instant" });
  return showAll();
}

function mark() {
  for (const id of ["filter", "searching", "dense"]) $(id).hidden = !filters.isSheet(view);
  if (!filters.isSheet(view)) $("review").hidden = true;
  if (!filters.isSheet(view)) $("filters").hidden = true;
  for (const tab of document.querySelectorAll("[data-folder]")) {
    if (tab.dataset.folder === view.folder) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  filters.mark(view);
}

for (const tab of document.querySelectorAll("[data-folder]")) {
  tab.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go({ folder: tab.dataset.folder });
  });
}

let typing = 0;
function search() {
  clearTimeout(typing);
  go({ search: $("search").value.trim() }, { isNew: false });
}
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_MS);
});
$("searching").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});

function setDense(isDense) {
  document.body.classList.toggle("dense", isDense);
  $("dense").setAttribute("aria-pressed", String(isDense));
  localStorage.setItem("captiond-dense", isDense ? "1" : "");
}
$("dense").addEventListener("click", () => setDense(!document.body.classList.contains("dense")));
setDense(localStorage.getItem("captiond-dense") === "1");

$("review").addEventListener("click", async () => {
  const isReview = ["needs_look", "awaits_approval", "to_review"].some((name) => view[name] === "true");
  if (view.folder !== "done" || !isReview) await go({ folder: "done", to_review: "true" });
  const [first] = sheet.numbers();
  if (first !== undefined) large.look(first);
});
$("rest").addEventListener("click", () => guarded(async () => {
  const { paused, reason } = await json(`api/${$("rest").dataset.act}`, { method: "POST" });
  tell(paused ? `Paused: ${reason}.` : "Going on.");
  look();
}));

$("newer").addEventListener("click", () => {
  scrollTo({ top: 0 });
  takeIn();
});
$("retry-all").addEventListener("click", () => guarded(async () => {
  $("retry-all").disabled = true;
  const returned = await picks.retry([...sheet.numbers()]).finally(() => { $("retry-all").disabled = false; });
  tell(`${plural(returned, "picture was", "pictures were")} put back into the inbox.`);
  await showAll();
}));

addEventListener("popstate", () => {
  const wanted = new URLSearchParams(location.search).get("picture");
  if (!wanted && large.isOpen()) return void large.close();
  Object.assign(view, filters.fromAddress());
  $("search").value = view.search;
  mark();
  showAll();
});

// By keyboard: j, k and the arrows go from picture to picture, Enter opens one, x selects it, X all up to it.
const STEPS = { j: 1, k: -1, ArrowRight: 1, ArrowLeft: -1 };
addEventListener("keydown", (event) => {
  const at = event.target.closest?.(".picture");
  if (document.querySelector("dialog[open]") || event.target.closest?.("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    $("search").focus();
  } else if (event.key in STEPS) {
    event.preventDefault();
    const from = at ? sheet.place(Number(at.dataset.id)) + STEPS[event.key] : sheet.firstInWindow();
    sheet.reveal(sheet.numbers()[from])?.focus({ preventScroll: true });
  } else if (at && event.target === at && event.key === "Enter") {
    large.look(Number(at.dataset.id));
  } else if (at && event.key.toLowerCase() === "x") {
    const id = Number(at.dataset.id);
    picks.pick(id, !picks.isPicked(id), event.shiftKey);
  } else if (event.key === "Escape") {
    picks.clear();
  }
});
addEventListener("keydown", (event) => {
  if (event.key !== "?" || event.target.closest?.("input, textarea, select") || $("keys").open) return;
  $("keys").showModal();
});
$("show-keys").addEventListener("click", () => $("keys").showModal());
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

async function start() {
  $("search").value = view.search;
  mark();
  finished = null;
  if (!(await guarded(introduce))) {
    if ($("entrance").hidden) timer = setTimeout(start, ASK_EVERY_MS);
    return;
  }
  for (const tab of document.querySelectorAll("[data-folder]")) {
    tab.parentElement.hidden = me.role === "drop" ? tab.dataset.folder !== "inbox" : me.role === "look" && tab.dataset.folder === "daemon";
  }
  if (me.role === "drop") {
    showDropping();
    Object.assign(view, { folder: "inbox" });
    mark();
  }
  const wanted = Number(new URLSearchParams(location.search).get("picture"));
  await showAll();
  if (!$("entrance").hidden) return;
  if (me.role !== "look") guarded(() => sharing.takeShared(uploads.add));
  if (Number.isSafeInteger(wanted) && wanted > 0) large.look(wanted);
  look();
}

const changed = (picture) => sheet.update(picture);
const asked = (picture) => {
  if (isTyping()) return false; // nothing moves under somebody who writes
  sheet.update(picture, { isShown: false });
  return true;
};
sheet.begin({
  make: (picture) => card(picture, { tell, moved, changed, look: large.look, pick: picks.pick, isPicked: picks.isPicked }),
  guarded,
});
filters.begin({ go, guarded });
daemon.begin();
uploads.begin({ tell, dropped: () => { if (view.folder !== "inbox") go({ folder: "inbox" }); } });
replacing.begin({ tell, guarded, changed: (picture) => sheet.update(picture, { isShown: false }) });
sharing.begin();
picks.begin({ tell, guarded, changed: asked, replace: replacing.open, moved: () => { moved(); showAll(); }, view: () => view });
large.begin({
  tell,
  moved,
  guarded,
  reviewed: () => look(),
  changed: (picture) => sheet.update(picture, { isShown: false }),
  opened: (id) => history.replaceState(null, "", filters.address(view, id)),
  closed(id) {
    history.replaceState(null, "", filters.address(view));
    if (id !== undefined) sheet.reveal(id)?.focus({ preventScroll: true });
  },
});
start();
