// All that is said about a picture beside its caption, as it is read in the large view.

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

const NAMES = { alt_text: "Alternative text", title: "Title", keywords: "Keywords", visible_text: "To be read in it" };

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

export function element(kind, name = "", content = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.append(content);
  return made;
}
