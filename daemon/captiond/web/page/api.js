// Asking the door, with the token where one was typed in.  The token stays in this tab.

const KEY = "captiond-token";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// Who asks, and what they may do: look, edit (everything), or drop files into the inbox.
export const me = { name: null, role: "edit" };
export const mayEdit = () => me.role === "edit";

export async function introduce() {
  Object.assign(me, await json("api/me"));
}

export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (method !== "GET") headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The daemon does not answer.");
  }
  if (!answer.ok) throw new Refused(answer.status, await reason(answer));
  return answer;
}

export const json = async (path, options) => (await ask(path, options)).json();

async function reason(answer) {
  try {
    const { detail } = await answer.json();
    if (typeof detail === "string") return detail[0].toUpperCase() + detail.slice(1);
  } catch {
    // not from the daemon: a proxy, say
  }
  return `The door answers ${answer.status}.`;
}
