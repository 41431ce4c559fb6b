// How the daemon fares, in the head of the page.

import { bytes, duration, plural, rate, sentence } from "./words.js";

const $ = (id) => document.getElementById(id);
const STATES = { starting: "Loading the model", paused: "Paused", draining: "Stopping" };

export function showStatus(status, tell) {
  const { counts } = status;
  const waiting = counts.waiting + counts.settling - counts.incomplete;
  const isBusy = waiting + counts.in_work > 0;
  const words = (status.download && "Downloading the model") ?? STATES[status.state] ?? (isBusy ? "Captioning" : "Watching the inbox");
  if ($("state-text").textContent !== words) {
    $("state-text").textContent = words;
    if (status.state !== "watching") tell(`${words}.`);
  }
  $("state").dataset.state = status.hanging ? "paused" : isBusy && status.state === "watching" ? "busy" : status.state;
  $("numbers").textContent = [...howFar(status, waiting, isBusy), ...(status.download ? downloading(status.download) : [])].join(" · ");
  const trouble = status.state === "paused"
    ? [status.pause_reason, status.pause_until && `Until ${new Date(status.pause_until).toLocaleString()}.`,
       status.pause_advice]
    : [status.hanging && `It stands still: ${status.hanging} hangs.`];
  const told = trouble.filter(Boolean).map(sentence).join(" ");
  if ($("pause").textContent !== told) $("pause").textContent = told;
  $("pause").hidden = !told;
  document.querySelector("[data-count=inbox]").textContent =
    (waiting + counts.incomplete + counts.in_work || "").toLocaleString();
  for (const folder of ["done", "failed"]) {
    const count = folder === "failed" ? (status.failed_now ?? status.totals?.failed) : status.totals?.[folder];
    document.querySelector(`[data-count=${folder}]`).textContent = count ? count.toLocaleString() : "";
  }
}

// What moves, and what waits for somebody else to finish it.
function howFar({ counts, state, rate_per_second: pace, seconds_to_finish: left }, waiting, isBusy) {
  const notWhole = counts.incomplete - counts.held;
  const isMoving = isBusy && state === "watching" && pace >= 0.005;
  return [
    isBusy && `${waiting.toLocaleString()} waiting`,
    isBusy && `${counts.in_work} in work`,
    counts.held > 0 && `${counts.held.toLocaleString()} being written`,
    notWhole > 0 && `${notWhole.toLocaleString()} not whole`,
    isMoving && rate(pace),
    isMoving && left >= 60 && `${duration(left)} left`,
  ].filter(Boolean);
}

function downloading({ bytes: there, total_bytes: total, bytes_per_second: pace }) {
  const left = pace > 0 ? (total - there) / pace : 0;
  return [`${(there / 1e9).toFixed(1)} of ${(total / 1e9).toFixed(1)} GB`, `${bytes(pace)} a second`, left >= 60 && `${duration(left)} left`].filter(Boolean);
}

export function showTrouble(message) {
  $("state-text").textContent = message.replace(/\.$/, "");
  $("state").dataset.state = "paused";
  $("numbers").textContent = "";
}

export function showLocked() {
  $("state-text").textContent = "Locked";
  $("state").dataset.state = "unknown";
  $("numbers").textContent = "";
}

// For whoever may only add pictures, and learns nothing else.
export function showDropping() {
  $("state-text").textContent = "Drop pictures here";
  $("state").dataset.state = "unknown";
  $("numbers").textContent = "";
}

// Why there is nothing on the sheet.
export function whyEmpty({ view, isFiltered, inbox, clear }) {
  const line = (text, ...more) => {
    const paragraph = document.createElement("p");
    paragraph.append(text, ...more);
    return paragraph;
  };
  if (view.search || isFiltered) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Show all pictures";
    button.addEventListener("click", clear);
    const what = isFiltered ? "No picture is like that." : `No caption or file name holds “${view.search}”.`;
    return [line(what), line(button)];
  }
  if (view.folder === "failed") {
    return [line("Nothing has failed."), line("A picture that cannot be captioned is shown here, with the reason.")];
  }
  const path = document.createElement("code");
  path.textContent = inbox || "the inbox";
  return [line("No picture has been captioned yet."), line("Put some into ", path, " and they appear here.")];
}

export const added = (count) => plural(count, "new picture", "new pictures");
