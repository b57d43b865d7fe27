// Talking to the service: one call, which asks for a key where one is needed.
import { anotherKey, keysGiven } from "./key.js";
import { request } from "./request.js";

/** What another key may help against. */
const KEY_HELPS = ["forbidden", "unauthorized"];

/** The answer's JSON. Where a key is needed it is asked for, and the request repeated. */
export async function call(path, options) {
  const before = keysGiven();
  try {
    return await request(path, options);
  } catch (error) {
    if (!KEY_HELPS.includes(error.code) || !(await anotherKey(before, error.code))) throw error;
    return call(path, options);
  }
}
