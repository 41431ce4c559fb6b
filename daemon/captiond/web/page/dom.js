// Elements: made in a line, and put in order with as few moved as can be.

export function element(kind, name = "", content = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.append(content);
  return made;
}

// In `parent` are `items`, in this order; those that are there already stay where they are, with whatever is
// selected in them, and the others are dropped.
export function arrange(parent, items, drop = (item) => item.remove()) {
  const kept = new Set(items);
  for (const old of [...parent.children]) if (!kept.has(old)) drop(old);
  let next = parent.firstElementChild;
  for (const item of items) {
    if (item === next) next = next.nextElementSibling;
    else parent.insertBefore(item, next);
  }
}
