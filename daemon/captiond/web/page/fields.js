// All texts of a picture, to be changed by a person: what changed is sent, and nothing else.

import { json } from "./api.js";
import { acting, fit } from "./editing.js";
import { element } from "./texts.js";
import { plural } from "./words.js";

const LINES = ["caption", "title", "alt_text"];
const READABLE = 125; // characters that screen readers read in one go
const APART = /[,;\n]/; // between keywords that are typed or pasted

// `opened` is told whether it is open, `saved` what the picture is now.
export function editingAll(form, { picture, tell, opened, saved }) {
  const of = (selector) => form.querySelector(selector);
  const typing = of("[name=keyword]");
  let keywords = [];

  function open(isOpen) {
    form.hidden = !isOpen;
    of(".problem").textContent = "";
    opened(isOpen);
    if (!isOpen) return;
    fill(textsOf(picture));
    of("details").open = LINES.slice(1).some((name) => form.elements[name].value) || keywords.length > 0;
    of(".models").hidden = !modelsTexts(picture);
    for (const field of form.querySelectorAll("textarea")) fit(field);
    form.elements.caption.focus();
  }

  function fill(texts) {
    for (const name of LINES) form.elements[name].value = texts[name] ?? "";
    typing.value = "";
    showKeywords(texts.keywords ?? []);
    count();
  }

  function showKeywords(now) {
    keywords = now;
    of(".chips").replaceChildren(...keywords.map((keyword) => {
      const item = element("li", "chip", keyword);
      item.dir = "auto";
      const button = element("button", "plain", "×");
      button.type = "button";
      button.setAttribute("aria-label", `Remove ${keyword}`);
      button.addEventListener("click", () => {
        showKeywords(keywords.filter((other) => other !== keyword));
        typing.focus();
      });
      item.append(button);
      return item;
    }));
    of(".chips").hidden = !keywords.length;
  }

  function take() {
    const more = typing.value.split(APART).map((word) => word.trim()).filter(Boolean);
    typing.value = "";
    if (more.length) showKeywords([...new Set([...keywords, ...more])]);
  }

  function count() {
    const length = [...form.elements.alt_text.value].length;
    of(".count").textContent = length > READABLE
      ? `${plural(length, "character", "characters")}: screen readers do well with ${READABLE}`
      : plural(length, "character", "characters");
    of(".count").classList.toggle("over", length > READABLE);
  }

  function typed() {
    take();
    const texts = Object.fromEntries(LINES.map((name) => [name, form.elements[name].value.trim() || null]));
    return { ...texts, caption: texts.caption ?? "", keywords };
  }

  function save(texts = typed()) {
    const [was, now] = [textsOf(picture), {}];
    for (const [name, words] of Object.entries(texts)) {
      if (JSON.stringify(words) !== JSON.stringify(was[name])) now[name] = words;
    }
    if (!Object.keys(now).length) return open(false);
    const former = Object.fromEntries(Object.keys(now).map((name) => [name, was[name]]));
    return acting(form, of(".problem"), form.querySelectorAll("button, textarea, input"), async () => {
      const told = await json(`api/pictures/${picture.id}`, { method: "PATCH", body: { ...now, was: former } });
      open(false);
      saved(told);
      tell("The texts are saved.");
    });
  }

  of(".cancel").onclick = () => open(false);
  of(".models").onclick = () => {
    fill({ ...typed(), ...modelsTexts(picture) });
    form.elements.caption.focus();
  };
  form.oninput = ({ target }) => {
    if (target.tagName === "TEXTAREA") fit(target);
    if (target === typing && APART.test(typing.value)) take();
    count();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    save();
  };
  form.onkeydown = (event) => {
    event.stopPropagation(); // letters are words here
    if (event.isComposing) return;
    const { key, target, shiftKey } = event;
    if (key === "Escape") {
      event.preventDefault();
      open(false);
    } else if (key === "Enter" && !shiftKey && target === typing && typing.value.trim()) {
      event.preventDefault();
      take();
    } else if (key === "Enter" && !shiftKey && (target === typing || target.tagName === "TEXTAREA")) {
      event.preventDefault(); // each text is one line
      save();
    } else if (key === "Backspace" && target === typing && !typing.value && keywords.length) {
      showKeywords(keywords.slice(0, -1));
    }
  };
  return { open, save };
}

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
