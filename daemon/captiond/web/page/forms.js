// What all forms share: what the keys do in them, and what holds while something is done.

// Letters are words here.  Escape leaves; Enter in a text, which is one line, sends.  `first` may take a key.
export function keys(form, { leave, send, first = () => false }) {
  form.onsubmit = (event) => {
    event.preventDefault();
    send();
  };
  form.onkeydown = (event) => {
    event.stopPropagation();
    if (event.isComposing) return;
    const { key, target, shiftKey } = event;
    const act = first(event) ? () => {}
      : key === "Escape" ? leave
      : key === "Enter" && !shiftKey && target.matches("textarea, input") ? send
      : null;
    if (!act) return;
    event.preventDefault();
    act();
  };
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
