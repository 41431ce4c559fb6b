// What is known of a picture beside its texts: facts, and the words that it had before.

import { element } from "./dom.js";
import { bytes, exact } from "./words.js";

const WHY = { edit: "then edited by hand", redo: "then described again", approve: "then approved" };

// As terms and details.  `shot` is what the camera wrote into it, once that is known.
export function facts(picture) {
  const { shot } = picture;
  const record = picture.record ?? {};
  const { source = {}, timings_seconds: timings, companions } = record;
  const seconds = timings && Object.entries(timings).map(([stage, took]) => `${stage} ${took.toFixed(2)} s`);
  const rows = [
    ["Dropped as", source.path],
    ["Taken", shot?.taken_at && exact(shot.taken_at)],
    ["Camera", shot?.camera],
    ["Captioned", exact(picture.at)],
    ["File of", source.modified_at && exact(source.modified_at)],
    ["Edited", picture.edited_at && whenAndWho(picture.edited_at, record.edited?.by)],
    ["Approved", record.approval?.at && whenAndWho(record.approval.at, record.approval.by)],
    ["Accepted", record.accepted?.at && whenAndWho(record.accepted.at, record.accepted.by)],
    ["Size", picture.width && `${picture.width} × ${picture.height} pixels`],
    ["Format", picture.format],
    ["Weight", source.bytes && bytes(source.bytes)],
    ["Model", picture.model],
    ["Profile", record.profile],
    ["Language", record.language],
    ["Keywords' tree", picture.fields.keyword_paths?.join(", ")],
    ["Prompt", record.prompt],
    ["Took", seconds?.join(", ")],
    ["Attempts", picture.attempts > 1 && picture.attempts],
    ["Kind of failure", picture.kind],
    ["Written into", record.written?.filter(({ action }) => action === "wrote").map(({ target }) => target).join(", ")],
    ["Before", record.previous_description],
    ["Came along", companions?.map(({ name }) => name).join(", ")],
  ];
  return rows.filter(([, value]) => value).flatMap(([name, value]) => {
    const detail = element("dd", "", String(value));
    detail.dir = "auto";
    return [element("dt", "", name), detail];
  });
}

const whenAndWho = (at, by) => [exact(at), by && `by ${by}`].filter(Boolean).join(" ");

// Former captions, the latest first, each with when and why it made way.
export function formerWords(record) {
  return [...(record?.history ?? [])].reverse().map(({ caption, replaced_at: at, why }) => {
    const words = element("p", "", caption ?? "");
    words.dir = "auto";
    const item = element("li", "", words);
    item.append(element("p", "note", [at && `Until ${exact(at)}`, WHY[why] ?? why].filter(Boolean).join(", ")));
    return item;
  });
}
