// A person's words in place of the model's: the form for it, on a card and in the large view.

import { json } from "./api.js";

// Words that were typed and not saved: a card may leave the document meanwhile, and come back.
export const drafts = new Map();

// `opened` is told whether it is open, `saved` what the picture is now.
export function editing(form, { picture, tell, opened, saved }) {
  const field = form.querySelector("textarea");
  const [problem, models] = [form.querySelector(".problem"), form.querySelector(".models")];
  let current = picture;

  function open(isOpen, words = current.caption, isAsked = true) {
    form.hidden = !isOpen;
    problem.textContent = "";
    opened(isOpen);
    if (!isOpen) return void drafts.delete(current.id);
    field.value = words;
    models.hidden = !current.model_caption || current.model_caption === current.caption;
    fit(field);
    if (isAsked) field.focus();
  }

  function save(words = field.value.trim()) {
    if (words === current.caption) return open(false);
    return acting(form, problem, form.querySelectorAll("button, textarea"), async () => {
      current = await json(`api/pictures/${current.id}/caption`, {
        method: "PUT", body: { caption: words, was: current.caption },
      });
      saved(current);
      open(false);
      tell("The caption is saved.");
    });
  }

  form.querySelector(".cancel").onclick = () => open(false);
  models.onclick = () => {
    field.value = current.model_caption;
    fit(field);
    field.focus();
  };
  field.oninput = () => {
    drafts.set(current.id, field.value);
    fit(field);
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    save();
  };
  form.onkeydown = (event) => {
    event.stopPropagation(); // letters are words here
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      open(false);
    } else if (event.key === "Enter" && event.target === field && !event.shiftKey) {
      event.preventDefault();  // a caption is one line
      save();
    }
  };
  return { open, save };
}

// Nothing can be pressed twice meanwhile; what goes wrong is told where it happened.
export async function acting(item, problem, controls, act) {
  problem.textContent = "";
  item.setAttribute("aria-busy", "true");
  const focused = document.activeElement;
  for (const control of controls) control.disabled = true;
  try {
    await act();
  } catch (error) {
    problem.textContent = error.message;
  } finally {
    for (const control of controls) control.disabled = false;
    item.removeAttribute("aria-busy");
    if (document.activeElement === document.body && focused?.isConnected && !focused.hidden) focused.focus();
  }
}

export function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}
