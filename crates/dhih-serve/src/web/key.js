// The key of a service that asks for one. It is given once, for a session: a cookie that no script can read stands for it from then
// on, so that pictures load with it, too. The browser forgets it when it is closed.
import { converse } from "./dialog.js";
import { $ } from "./dom.js";
import { Failure, request } from "./request.js";

let asking = null; // the question under way
let given = 0;

/** How many keys were given so far. */
export const keysGiven = () => given;

/** Asks for a key, once for all requests that were refused for want of it (`code`). `before` is how many keys had been given when the
 * request was sent. Gives whether there is another key now. */
export async function anotherKey(before, code) {
  if (given !== before) return true;
  asking ??= ask(code).finally(() => (asking = null));
  return asking;
}

/** Shows whose key is in use, and a button to end its session. */
export function showSession({ name, role }) {
  $("sign-out").hidden = name === null;
  $("sign-out").title = `The key ${name} (${role}) is in use`;
}

export async function signOut() {
  await request("/v1/session", { method: "DELETE" });
  location.reload();
}

async function ask(code) {
  $("key-text").textContent = code === "forbidden" ? "Your key may not do this. Enter one that may." : "This service asks for a key. Whoever runs it can give you one.";
  $("key").value = "";
  const session = await converse($("key-dialog"), async (form) => begin(form.get("key").trim()));
  return session !== null;
}

async function begin(key) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key }) };
  const session = await request("/v1/session", options).catch((error) => {
    throw error.code === "unauthorized" ? new Failure("This key does not open this service", "Check it, or enter another one.") : error;
  });
  given += 1;
  showSession(session);
  return session;
}
