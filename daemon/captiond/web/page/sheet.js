// The sheet: as many pictures as there are, of which only those near the window are in the document.
//
// The numbers of all pictures that are meant are known; what they say is fetched for the rows in sight.  A row
// is as high as its highest caption: it is measured when it was there, and guessed until then.

import { json } from "./api.js";
import { discard } from "./cards.js";

const AHEAD_PIXELS = 900;
const STEP_ROWS = 2; // so that not every line that is scrolled changes the document
const GUESSED_ROW_PIXELS = 380;
const MOST_KNOWN = 1500;
const AT_ONCE = 100;
const CARDS_AT_ONCE = 5;

const grid = document.getElementById("pictures");
const [above, below] = [document.getElementById("above"), document.getElementById("below")];

let make = () => null; // a picture to its element
let guarded = (act) => act();
let ids = [];
let places = new Map(); // number -> place among them
let columns = 1;
let heights = []; // of rows that were measured
let shown = [0, 0]; // places in the document, from and up to
const known = new Map(); // number -> what was told of it
let fetching = new AbortController();
let frame = 0;

export const numbers = () => ids;
export const place = (id) => places.get(id) ?? -1;
export const told = (id) => known.get(id);
export const elements = () => [...grid.children];
export const element = (id) => grid.querySelector(`[data-id="${id}"]`);

export function begin(options) {
  ({ make, guarded } = options);
  addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(() => {
    if (count() !== columns) heights = [];
    soon();
  }).observe(grid);
}

export function show(all) {
  fetching.abort();
  known.clear();
  elements().forEach(discard);
  replace(all, [0, 0]);
}

// New ones at the head; what is in the document stays there.
export function prepend(fresh) {
  replace([...fresh, ...ids], shown.map((at) => at + fresh.length));
}

// What is told of a picture is something else now; its card may show that already.
export function update(picture, { isShown = true } = {}) {
  if (!known.has(picture.id)) return;
  known.set(picture.id, picture);
  if (!isShown) exchange(picture.id);
}

function exchange(id) {
  const old = element(id);
  if (!old || !known.has(id)) return;
  const item = made(id);
  const isFocused = old === document.activeElement;
  old.after(item);
  discard(old);
  if (isFocused) item.focus({ preventScroll: true });
}

// The element of a picture, wherever it is; it is brought into the window.
export function reveal(id) {
  const at = place(id);
  if (at < 0) return null;
  const row = Math.floor(at / columns);
  const top = grid.parentElement.getBoundingClientRect().top + scrollY + sum(0, row);
  const height = heights[row] ?? guess();
  if (top < scrollY + 80 || top + height > scrollY + innerHeight) scrollTo({ top: top - 120, behavior: "instant" });
  render();
  return element(id);
}

function replace(all, range) {
  ids = all;
  places = new Map(ids.map((id, at) => [id, at]));
  heights = [];
  shown = range;
  render();
}

const count = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;
const rows = () => Math.ceil(ids.length / columns);

function guess() {
  const measured = heights.filter(Boolean);
  return measured.length ? measured.reduce((a, b) => a + b) / measured.length : GUESSED_ROW_PIXELS;
}

function sum(from, to) {
  const otherwise = guess();
  let total = 0;
  for (let row = from; row < to; row++) total += heights[row] ?? otherwise;
  return total;
}

function soon() {
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; render(); });
}

// Which rows are in the window, and a little more.
function inSight() {
  const top = scrollY - (grid.parentElement.getBoundingClientRect().top + scrollY);
  const otherwise = guess();
  const [first, last] = [top - AHEAD_PIXELS, top + innerHeight + AHEAD_PIXELS];
  let [from, y, row] = [0, 0, 0];
  for (; row < rows() && y < last; row++) {
    y += heights[row] ?? otherwise;
    if (y < first) from = row + 1;
  }
  from = Math.min(from, Math.max(0, rows() - 1));
  return [from - (from % STEP_ROWS), Math.max(row, from + 1)];
}

function render() {
  measure();
  columns = count();
  const [from, to] = inSight();
  shown = [from * columns, Math.min(to * columns, ids.length)];
  const wanted = ids.slice(...shown);
  const kept = new Set(wanted);
  for (const old of elements()) if (!kept.has(Number(old.dataset.id))) discard(old);
  let next = grid.firstElementChild;
  for (const id of wanted) {
    if (next && Number(next.dataset.id) === id) {
      next = next.nextElementSibling;
    } else {
      grid.insertBefore(element(id) ?? made(id), next);
    }
  }
  above.style.height = `${sum(0, from)}px`;
  below.style.height = `${sum(Math.ceil(shown[1] / columns), rows())}px`;
  fetchUnknown();
}

function made(id) {
  const picture = known.get(id);
  let item;
  if (picture) {
    item = make(picture);
  } else {
    item = document.createElement("li");
    item.className = "picture unknown";
    item.dataset.id = id;
    item.tabIndex = -1;
    item.style.minHeight = `${guess() - 40}px`;
  }
  item.setAttribute("aria-setsize", ids.length);
  item.setAttribute("aria-posinset", place(id) + 1);
  return item;
}

function measure() {
  const items = elements();
  if (!items.length) return;
  const first = place(Number(items[0].dataset.id));
  if (first < 0 || first % columns) return;
  for (let at = 0; at + columns < items.length; at += columns) {
    const row = items.slice(at, at + columns);
    if (row.some((item) => item.classList.contains("unknown"))) continue;
    heights[(first + at) / columns] = items[at + columns].offsetTop - items[at].offsetTop;
  }
}

async function fetchUnknown() {
  const unknown = ids.slice(...shown).filter((id) => !known.has(id)).slice(0, AT_ONCE);
  fetching.abort();
  if (!unknown.length) return;
  fetching = new AbortController();
  const { signal } = fetching;
  await guarded(async () => {
    const { pictures } = await json(`api/pictures?ids=${unknown}`, { signal });
    const found = new Map(pictures.map((picture) => [picture.id, picture]));
    // Whoever deleted the history meanwhile has made the numbers mean nothing.
    if (found.size < unknown.length) {
      ids = ids.filter((id) => found.has(id) || !unknown.includes(id));
      places = new Map(ids.map((id, at) => [id, at]));
    }
    for (const [id, picture] of found) known.set(id, picture);
    await unveil([...found.keys()]);
    for (const id of known.keys()) {
      if (known.size <= MOST_KNOWN) break;
      if (!element(id)) known.delete(id);
    }
    render();
  });
}

// A few at a time, so that scrolling goes on meanwhile.
async function unveil(some) {
  for (let at = 0; at < some.length; at += CARDS_AT_ONCE) {
    some.slice(at, at + CARDS_AT_ONCE).forEach(exchange);
    await new Promise((resolve) => { setTimeout(resolve); });
  }
}
