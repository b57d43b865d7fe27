// The key of a service that needs one. It is sent once to begin a session. From then on, a cookie that scripts cannot read stands for it,
// so that images load with it, too. The browser deletes the cookie when it is closed.
import { converse } from "./dialog.js";
import { $ } from "./dom.js";
import { Failure, request } from "./request.js";

let asking = null; // the dialog in progress
let given = 0;

/** The number of keys that were given so far. */
export const keysGiven = () => given;

/** Asks for a key, once for all requests that were refused without one (`code`). `before` is the number of keys that had been given when
 * the request was sent. Returns whether there is a new key. */
export async function anotherKey(before, code) {
  if (given !== before) return true;
  asking ??= ask(code).finally(() => (asking = null));
  return asking;
}

/** Shows the name of the key in use, and a button to end its session. */
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
