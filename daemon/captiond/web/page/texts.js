// The texts of a picture: what there is of them, and how they are read in the large view.

import { element } from "./dom.js";
import { plural, sentence } from "./words.js";

// What is to be read, by the names that the API gives it.
export function texts({ fields = {} }) {
  const parts = [];
  if (fields.title) parts.push(part("Title", words(fields.title)));
  if (fields.alt_text) {
    parts.push(part("Alternative text", words(fields.alt_text), plural([...fields.alt_text].length, "character", "characters")));
  }
  if (fields.keywords?.length) parts.push(part("Keywords", chips(fields.keywords)));
  if (fields.visible_text !== undefined) {
    const read = words(fields.visible_text || "nothing");
    read.className = fields.visible_text ? "visible-text" : "note";
    parts.push(part("To be read in it", read));
  }
  return parts;
}

export function chips(keywords) {
  const list = element("ul", "chips");
  list.setAttribute("role", "list");
  list.append(...keywords.map((keyword) => {
    const item = element("li", "chip", keyword);
    item.dir = "auto";
    return item;
  }));
  return list;
}

export function warnings(record) {
  return (record?.warnings ?? []).map(({ message, field }) => {
    const about = field && field !== "caption" ? `${NAMES[field] ?? field}: ` : "";
    const item = element("li", "", about + sentence(message));
    item.dir = "auto";
    return item;
  });
}

export const NAMES = { alt_text: "Alternative text", title: "Title", keywords: "Keywords", visible_text: "To be read in it" };

function part(name, content, more = "") {
  const section = element("section", "text");
  const heading = element("h3", "", name);
  if (more) heading.append(" ", element("span", "count", more));
  section.append(heading, content);
  return section;
}

function words(said) {
  const paragraph = element("p", "", said);
  paragraph.dir = "auto";
  return paragraph;
}

// Those that a person may change.
export function textsOf({ caption, fields = {} }) {
  return { caption, title: fields.title ?? null, alt_text: fields.alt_text ?? null, keywords: fields.keywords ?? [] };
}

// What the model had said, of those texts that a person changed; null where nobody did.
export function modelsTexts({ caption, model_caption: first, record }) {
  const { model_fields: others = {} } = record?.edited ?? {};
  const texts = { ...(first && first !== caption ? { caption: first } : {}) };
  for (const name of ["title", "alt_text", "keywords"]) {
    if (name in others) texts[name] = others[name] ?? (name === "keywords" ? [] : null);
  }
  return Object.keys(texts).length ? texts : null;
}
