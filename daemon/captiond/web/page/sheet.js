// The sheet: as many pictures as there are, of which only those near the window are in the document.
//
// The numbers of all pictures that are meant are known; what they say is fetched for the rows in sight.  A row
// is as high as its highest caption: it is measured when it was there, and guessed until then.  Each frame reads
// first and writes then, and makes a few cards at the most, so that none takes long.

import { json } from "./api.js";
import { discard } from "./cards.js";
import { arrange } from "./dom.js";

const AHEAD_PIXELS = 900;
const STEP_ROWS = 2; // so that not every line that is scrolled changes the document
const GUESSED_TEXT_PIXELS = 170; // beneath a picture
const ENOUGH_ROWS = 8; // to guess the others by: a guess that changed with each row would move what is seen
const MOST_KNOWN = 1500;
const AT_ONCE = 100;
const CARDS_A_FRAME = 12;
const AGAIN_MS = 2000; // after a fetch that failed
const [LEAST_TOP_PIXELS, GOOD_TOP_PIXELS] = [80, 120]; // of a picture that is brought into the window
const HANDS = ["wheel", "touchmove", "pointerdown", "keydown"];

const page = document.documentElement;
const grid = document.getElementById("pictures");
const [above, below] = [document.getElementById("above"), document.getElementById("below")];

let make = () => null; // a picture to its element
let guarded = (act) => act();
let ids = [];
let places = new Map(); // number -> place among them
let columns = 0;
let columnPixels = 0;
let heights = []; // of rows that were measured
let measured = { rows: 0, pixels: 0 };
let edge = null; // a picture of the first row in the window and its top there, if anything is above it
let pin = null; // such a one that stays there until all around it is made, or somebody scrolls
let kept = null; // how far the window was scrolled to keep it there
const known = new Map(); // number -> what was told of it
const present = new Map(); // number -> its element in the document
let fetching = nothing();
let frame = 0;

export const numbers = () => ids;
export const place = (id) => places.get(id) ?? -1;
export const told = (id) => known.get(id);
export const elements = () => [...grid.children];
export const element = (id) => present.get(id) ?? null;

export function begin(options) {
  ({ make, guarded } = options);
  addEventListener("scroll", soon, { passive: true });
  for (const hand of HANDS) addEventListener(hand, () => hold(null), { passive: true, capture: true });
  new ResizeObserver(() => (tracks().length === columns ? soon() : render())).observe(grid);
}

export function show(all) {
  fetching.stop.abort();
  fetching = nothing();
  known.clear();
  elements().forEach(drop);
  edge = null;
  hold(null);
  replace(all);
}

// New ones at the head; what is in the document stays there.
export const prepend = (fresh) => replace([...fresh, ...ids]);

// What is told of a picture is something else now; its card may show that already.
export function update(picture, { isShown = true } = {}) {
  if (!known.has(picture.id)) return;
  known.set(picture.id, picture);
  if (!isShown) exchange(picture.id);
}

// The element of a picture, wherever it is; it is brought into the window.
export function reveal(id) {
  if (place(id) < 0) return null;
  const { top, bottom } = element(id)?.getBoundingClientRect() ?? {};
  if (!(top >= LEAST_TOP_PIXELS && bottom <= innerHeight)) {
    hold({ id, top: GOOD_TOP_PIXELS });
    render();
  }
  return element(id);
}

// The place of the first picture whose head is in the window.
export function firstInWindow() {
  const item = elements().find((one) => one.getBoundingClientRect().top >= LEAST_TOP_PIXELS);
  return item ? place(Number(item.dataset.id)) : 0;
}

// Otherwise the browser holds what it thinks best.
function hold(one) {
  if (pin === one) return;
  pin = one;
  kept = null;
  page.style.overflowAnchor = pin ? "none" : "";
}

function replace(all) {
  ids = all;
  places = new Map(ids.map((id, at) => [id, at]));
  forgetHeights();
  render();
}

function forgetHeights() {
  heights = [];
  measured = { rows: 0, pixels: 0 };
}

const tracks = () => getComputedStyle(grid).gridTemplateColumns.split(" ");
const rows = () => Math.ceil(ids.length / columns);
const rowOf = (id) => Math.floor(place(id) / columns);
const height = (row) => heights[row] || guess();
const guess = () => (measured.rows ? measured.pixels / measured.rows : columnPixels * 0.75 + GUESSED_TEXT_PIXELS);

function sum(from, to) {
  let total = 0;
  for (let row = from; row < to; row++) total += height(row);
  return total;
}

function soon() {
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; render(); });
}

// The first row in the window, and where its top is: as it is seen, or else as it is reckoned.
function firstRow() {
  const top = grid.parentElement.getBoundingClientRect().top;
  if (pin) return { row: rowOf(pin.id), top: pin.top };
  if (top >= 0) return { row: 0, top };
  for (const item of elements()) {
    const { top, bottom } = item.getBoundingClientRect();
    if (bottom > 0 && top < innerHeight) return { row: rowOf(Number(item.dataset.id)), top };
  }
  let [row, y] = [0, top];
  while (row < rows() - 1 && y + height(row) <= 0) y += height(row++);
  return { row, top: y };
}

// That one and its neighbours, as far as they are in the window or a little beyond.
function inSight({ row, top }) {
  let [from, to, y] = [row, row, top];
  while (from > 0 && y > -AHEAD_PIXELS) y -= height(--from);
  for (y = top; to < rows() && (y < innerHeight + AHEAD_PIXELS || to === row); to++) y += height(to);
  return [from - (from % STEP_ROWS), to];
}

function render() {
  look();
  const { row, top } = firstRow();
  const [from, to] = inSight({ row, top });
  // The same one as long as its row is the first: else each change of the columns would go back to a row's start.
  const isSame = edge && rowOf(edge.id) === row;
  edge = row > 0 ? { id: isSame ? edge.id : ids[row * columns], top } : null;
  const wanted = ids.slice(from * columns, to * columns);
  const isAtEnd = scrollY > 0 && scrollY + innerHeight >= page.scrollHeight - 1;
  arrange(grid, wanted.map((id) => present.get(id) ?? emptyPlace(id)), drop);
  const isMore = unveil(wanted, row * columns);
  above.style.height = `${sum(0, from)}px`;
  below.style.height = `${sum(to, rows())}px`;
  fetchUnknown(wanted);
  if (pin) keep();
  else if (isAtEnd) scrollTo({ top: page.scrollHeight, behavior: "instant" });
  if (isMore) soon();
  else if (wanted.every((id) => known.has(id))) hold(null);
}

// What was measured counts as long as there are as many columns.
function look() {
  if (kept !== null && Math.abs(scrollY - kept) > 1) hold(null); // by the scroll bar, which no event tells
  const now = tracks();
  if (now.length === columns) return measure();
  forgetHeights();
  // Rows are as high as they are now no more: what was half above the window would be wholly above it.
  hold(pin ?? (edge && { ...edge, top: Math.max(edge.top, 0) }));
  columns = now.length;
  columnPixels = parseFloat(now[0]);
}

function keep() {
  const moved = (element(pin.id)?.getBoundingClientRect().top ?? pin.top) - pin.top;
  if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
  kept = scrollY;
}

// What comes anew is an empty place at first.
function emptyPlace(id) {
  const item = document.createElement("li");
  item.className = "picture unknown";
  item.tabIndex = -1;
  item.style.minHeight = `${guess() - 40}px`;
  return numbered(item, id);
}

function numbered(item, id) {
  item.dataset.id = id;
  item.setAttribute("aria-setsize", ids.length);
  item.setAttribute("aria-posinset", place(id) + 1);
  present.set(id, item);
  return item;
}

function drop(item) {
  discard(item);
  present.delete(Number(item.dataset.id));
}

const isEmptyPlace = (id) => present.get(id)?.classList.contains("unknown");

// Cards in the place of a few empty ones, those from `first` on at first; whether there is more to do.
function unveil(wanted, first) {
  const ready = wanted.filter((id) => known.has(id) && isEmptyPlace(id));
  const [before, after] = [ready.filter((id) => place(id) < first), ready.filter((id) => place(id) >= first)];
  [...after, ...before.reverse()].slice(0, CARDS_A_FRAME).forEach(exchange);
  return ready.length > 0; // also after the last ones: their rows are to be measured
}

function exchange(id) {
  const old = element(id);
  if (!old || !known.has(id)) return;
  const isFocused = old === document.activeElement;
  const item = numbered(make(known.get(id)), id);
  old.after(item);
  discard(old);
  if (isFocused) item.focus({ preventScroll: true });
}

function measure() {
  const items = elements();
  if (!items.length) return;
  const from = place(Number(items[0].dataset.id));
  if (from < 0 || from % columns) return;
  for (let at = 0; at + columns < items.length; at += columns) {
    const row = items.slice(at, at + columns);
    if (row.some((item) => item.classList.contains("unknown"))) continue;
    note((from + at) / columns, items[at + columns].offsetTop - items[at].offsetTop);
  }
}

function note(row, pixels) {
  if (heights[row] === undefined && measured.rows < ENOUGH_ROWS) {
    measured = { rows: measured.rows + 1, pixels: measured.pixels + pixels };
  }
  heights[row] = pixels;
}

function nothing() {
  return { numbers: [], stop: new AbortController() };
}

// What is on its way is waited for, as long as any of it is wanted.
async function fetchUnknown(wanted) {
  const unknown = wanted.filter((id) => !known.has(id)).slice(0, AT_ONCE);
  if (!unknown.length || fetching.numbers.some((id) => wanted.includes(id))) return;
  fetching.stop.abort();
  const mine = fetching = { ...nothing(), numbers: unknown };
  const { signal } = mine.stop;
  const isDone = await guarded(async () => {
    const { pictures } = await json(`api/pictures?ids=${unknown}`, { signal });
    learn(unknown, new Map(pictures.map((picture) => [picture.id, picture])));
  });
  mine.numbers = [];
  if (isDone) soon();
  else if (!signal.aborted) setTimeout(soon, AGAIN_MS);
}

function learn(asked, found) {
  // Whoever deleted the history meanwhile has made the numbers mean nothing.
  if (found.size < asked.length) {
    ids = ids.filter((id) => found.has(id) || !asked.includes(id));
    places = new Map(ids.map((id, at) => [id, at]));
  }
  for (const [id, picture] of found) known.set(id, picture);
  for (const id of known.keys()) {
    if (known.size <= MOST_KNOWN) break;
    if (!present.has(id)) known.delete(id);
  }
}
