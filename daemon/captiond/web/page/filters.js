// Which pictures are on the sheet: the view, as it stands in the address, and the form that changes it.

import { json } from "./api.js";

const $ = (id) => document.getElementById(id);
const CHOSEN = ["beneath", "model", "format", "edited", "needs_look", "awaits_approval", "to_review"];
const DATES = ["from", "to"];
const FOLDERS = ["done", "failed", "inbox", "daemon"];
const form = $("filters");

export function fromAddress() {
  const given = new URLSearchParams(location.search);
  const wanted = given.get("folder");
  const view = { folder: FOLDERS.includes(wanted) ? wanted : "done", search: given.get("q") ?? "" };
  for (const name of [...CHOSEN, ...DATES]) view[name] = given.get(name) ?? "";
  return view;
}

export function address(view, picture = null) {
  const query = new URLSearchParams();
  if (view.folder !== "done") query.set("folder", view.folder);
  if (view.search) query.set("q", view.search);
  for (const name of [...CHOSEN, ...DATES]) if (view[name]) query.set(name, view[name]);
  if (picture) query.set("picture", picture);
  return query.size ? `?${query}` : "./";
}

// As the API wants it: days are the reader's own, from midnight to midnight.
export function query(view, more = {}) {
  const asked = new URLSearchParams({ folder: view.folder });
  if (view.search) asked.set("search", view.search);
  for (const name of CHOSEN) if (view[name]) asked.set(name, view[name]);
  const midnight = (day, later) => {
    const [year, month, date] = day.split("-").map(Number);
    return new Date(year, month - 1, date + later);
  };
  const [since, until] = [view.from && midnight(view.from, 0), view.to && midnight(view.to, 1)];
  if (since && !Number.isNaN(since.getTime())) asked.set("since", since.toISOString());
  if (until && !Number.isNaN(until.getTime())) asked.set("until", until.toISOString());
  for (const [name, value] of Object.entries(more)) asked.set(name, value);
  return asked;
}

// Whether there are pictures to see; the other views are about files and about the daemon.
export const isSheet = ({ folder }) => folder === "done" || folder === "failed";
export const isFiltered = (view) => [...CHOSEN, ...DATES].some((name) => view[name]);
export const unfiltered = () => Object.fromEntries([...CHOSEN, ...DATES].map((name) => [name, ""]));

export function mark(view) {
  for (const name of [...CHOSEN, ...DATES]) {
    const field = form.elements[name];
    if (view[name] && field.tagName === "SELECT" && ![...field.options].some(({ value }) => value === view[name])) {
      field.append(new Option(view[name], view[name]));
    }
    field.value = view[name];
  }
  const count = [...CHOSEN, ...DATES].filter((name) => view[name]).length;
  $("filter").textContent = count ? `Filter (${count})` : "Filter";
}

export function begin({ go, guarded }) {
  $("filter").addEventListener("click", () => {
    form.hidden = !form.hidden;
    $("filter").setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) guarded(fill);
  });
  form.addEventListener("change", () => {
    go(Object.fromEntries([...CHOSEN, ...DATES].map((name) => [name, form.elements[name].value])));
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  $("unfilter").addEventListener("click", () => go(unfiltered()));
}

async function fill() {
  const choices = await json("api/choices");
  for (const name of ["beneath", "model", "format"]) {
    const select = form.elements[name];
    const chosen = select.value;
    const options = choices[name].map((choice) => new Option(choice, choice));
    select.replaceChildren(select.options[0], ...options);
    if (chosen && !choices[name].includes(chosen)) select.append(new Option(chosen, chosen));
    select.value = chosen;
  }
}
