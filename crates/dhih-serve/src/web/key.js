// The key of a service that asks for one. It travels in a cookie, so that pictures load with it, too; the browser forgets
// it when it is closed.
import { converse } from "/dialog.js";
import { $ } from "/dom.js";

let asking = null; // the question under way

export const key = () => document.cookie.match(/(?:^|; )dhih-key=([^;]*)/)?.[1] ?? "";

function keep(value) {
  document.cookie = `dhih-key=${value}; path=/; SameSite=Strict${location.protocol === "https:" ? "; Secure" : ""}`;
}

/** Asks for another key than the one that was refused, once for all who wait for it. Gives whether there is one. */
export async function anotherKey(refused) {
  if (key() !== refused) return true;
  asking ??= ask(refused).finally(() => (asking = null));
  return asking;
}

async function ask(refused) {
  $("key-text").textContent = refused ? "The key you gave does not open this. Enter another one." : "This service asks for a key. Whoever runs it can give you one.";
  $("key").value = "";
  const given = await converse($("key-dialog"), async (form) => {
    const value = form.get("key").trim();
    // What a cookie cannot carry is no key, either.
    if (!/^[!-:<-~]+$/.test(value)) throw Object.assign(new Error("A key has letters, digits and signs, but no spaces and no semicolons."), { title: "This cannot be a key" });
    keep(value);
    return value;
  });
  return given !== null;
}
