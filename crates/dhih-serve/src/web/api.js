// Talking to the service: one call, and what its refusals are called.
import { sentence } from "/dom.js";
import { anotherKey, key } from "/key.js";

export const TITLES = {
  body_too_large: "This image is too large",
  busy: "The service is busy",
  id_taken: "This id is taken",
  invalid_code: "This is not a code of this model",
  not_an_image: "This is not an image",
  not_found: "There is no such image here",
  read_only: "This service only reads",
  timeout: "The service took too long",
  unauthorized: "A key is needed",
  unknown_label: "There is no such label here",
  unusable_image: "This image cannot be used",
};

/** Said in place of messages that are for programs. */
const WORDS = { unauthorized: "Nothing is done without it. Whoever runs this service can give you one." };

/** What went wrong, for people; `again` where the same request may succeed later. */
export class Failure extends Error {
  constructor(title, message, { again = false, code = "" } = {}) {
    super(message);
    Object.assign(this, { title, again, code });
  }
}

/** The answer's JSON. A refused key is asked for, and the request repeated with the new one. */
export async function call(path, options) {
  const tried = key();
  const response = await send(path, options);
  if (response.status === 401 && (await anotherKey(tried))) return call(path, options);
  if (response.status === 204) return null;
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  const { code, message } = body?.error ?? {};
  throw new Failure(TITLES[code] ?? "The request failed", WORDS[code] ?? sentence(message ?? `HTTP ${response.status}`), { again: response.status >= 500, code });
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The service does not answer", "Check that dhih-serve is still running, then try again.", { again: true });
  }
}
