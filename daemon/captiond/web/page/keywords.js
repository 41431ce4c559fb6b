// Keywords as chips with a field for more: Enter or a comma ends one, Backspace in the empty field takes the last.

import { element } from "./dom.js";

const APART = /[,;\n]/; // between keywords that are typed or pasted

export function keywordsField(list, field) {
  let keywords = [];

  function show(now) {
    keywords = now;
    list.replaceChildren(...keywords.map((keyword) => {
      const item = element("li", "chip", keyword);
      item.dir = "auto";
      const button = element("button", "plain", "×");
      button.type = "button";
      button.setAttribute("aria-label", `Remove ${keyword}`);
      button.addEventListener("click", () => {
        show(keywords.filter((other) => other !== keyword));
        field.focus();
        field.dispatchEvent(new InputEvent("input", { bubbles: true })); // something else is meant now
      });
      item.append(button);
      return item;
    }));
    list.hidden = !keywords.length;
  }

  const value = () => [...new Set([...keywords, ...field.value.split(APART).map((word) => word.trim()).filter(Boolean)])];

  function take() {
    const all = value();
    field.value = "";
    show(all);
  }

  return {
    value,
    set(now) {
      field.value = "";
      show(now);
    },
    typed() {
      if (APART.test(field.value)) take();
    },
    // Whether the key was meant for the keywords.
    key({ key, target, shiftKey }) {
      if (target !== field) return false;
      if (key === "Enter" && !shiftKey && field.value.trim()) take();
      else if (key === "Backspace" && !field.value && keywords.length) show(keywords.slice(0, -1));
      else return false;
      return true;
    },
  };
}
