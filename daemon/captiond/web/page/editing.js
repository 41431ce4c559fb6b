// A person's texts in place of the model's: on a card the caption, in the large view all of them.

import { json } from "./api.js";
import { acting, fit, keys } from "./forms.js";
import { keywordsField } from "./keywords.js";
import { modelsTexts, textsOf } from "./texts.js";
import { plural } from "./words.js";

const LINES = ["caption", "title", "alt_text"];
const READABLE = 125; // characters that screen readers read in one go

// Of the form's fields, what was changed is sent and nothing else.  `opened` is told whether it is open, `saved`
// what the picture is now.  `drafts` keeps what was typed and not saved, by the picture's number: a card may
// leave the document meanwhile, and come back.
export function editing(form, { picture, tell, opened, saved, drafts }) {
  const of = (selector) => form.querySelector(selector);
  const lines = LINES.filter((name) => form.elements[name]);
  const keywords = form.elements.keyword && keywordsField(of(".chips"), form.elements.keyword);
  const theirs = modelsTexts(picture);
  const [models, problem] = [of(".models"), of(".problem")];

  function open(isOpen, { texts = drafts.get(picture.id) ?? textsOf(picture), isAsked = true } = {}) {
    form.hidden = !isOpen;
    problem.textContent = "";
    opened(isOpen);
    if (!isOpen) return void drafts.delete(picture.id);
    fill(texts);
    models.hidden = !theirs;
    if (isAsked) form.elements.caption.focus();
  }

  function fill(texts) {
    for (const name of lines) form.elements[name].value = texts[name] ?? "";
    keywords?.set(texts.keywords ?? []);
    const more = of("details");
    if (more && !more.open) more.open = Boolean(texts.title || texts.alt_text || texts.keywords?.length);
    for (const field of form.querySelectorAll("textarea")) fit(field);
    count();
  }

  function count() {
    if (!form.elements.alt_text) return;
    const length = [...form.elements.alt_text.value].length;
    const words = plural(length, "character", "characters");
    of(".count").textContent = length > READABLE ? `${words}: screen readers do well with ${READABLE}` : words;
    of(".count").classList.toggle("over", length > READABLE);
  }

  function typed() {
    const texts = Object.fromEntries(lines.map((name) => [name, form.elements[name].value.trim() || null]));
    return { ...texts, caption: texts.caption ?? "", ...(keywords && { keywords: keywords.value() }) };
  }

  function save() {
    const [was, texts] = [textsOf(picture), typed()];
    const names = Object.keys(texts).filter((name) => JSON.stringify(texts[name]) !== JSON.stringify(was[name]));
    if (!names.length) return open(false);
    const [former, now] = [was, texts].map((some) => Object.fromEntries(names.map((name) => [name, some[name]])));
    return acting(form, problem, form.querySelectorAll("button, textarea, input"), async () => {
      const told = await json(`api/pictures/${picture.id}`, { method: "PATCH", body: { ...now, was: former } });
      open(false);
      saved(told);
      tell(lines.length > 1 ? "The texts are saved." : "The caption is saved.");
    });
  }

  of(".cancel").onclick = () => open(false);
  models.onclick = () => {
    fill({ ...typed(), ...theirs });
    form.elements.caption.focus();
  };
  form.oninput = ({ target }) => {
    if (target.tagName === "TEXTAREA") fit(target);
    keywords?.typed();
    count();
    drafts.set(picture.id, typed());
  };
  keys(form, { leave: () => open(false), send: save, first: (event) => keywords?.key(event) });
  return { open };
}
