// Requests to the service, which ask the user for a key if one is needed.
import { anotherKey, keysGiven } from "./key.js";
import { request } from "./request.js";

/** Errors that another key may resolve. */
const KEY_HELPS = ["forbidden", "unauthorized"];

/** Sends a request and returns the JSON of the answer. If a key is needed, asks for one and repeats the request. */
export async function call(path, options) {
  const before = keysGiven();
  try {
    return await request(path, options);
  } catch (error) {
    if (!KEY_HELPS.includes(error.code) || !(await anotherKey(before, error.code))) throw error;
    return call(path, options);
  }
}
