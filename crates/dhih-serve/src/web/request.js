// Requests to the service, and the texts of its errors.
import { sentence } from "./dom.js";

/** The collection of the page; null for the default one. */
export const collection = new URLSearchParams(location.search).get("collection");

/** The paths that belong to the service as a whole. */
const WHOLE = /^\/v1\/(collections|session)(\/|$)/;

const ofCollection = (path) => (collection === null || WHOLE.test(path) ? path : path.replace("/v1/", `/v1/collections/${encodeURIComponent(collection)}/`));

/** The URL of a path of the service, such as `/v1/info`. It is relative to this file, because the service may be below a prefix. */
export const urlOf = (path) => new URL(`.${ofCollection(path)}`, import.meta.url).href;

export const TITLES = {
  body_too_large: "This image is too large",
  busy: "The service is busy",
  cross_site: "The service refuses this page",
  external_id_taken: "This id is taken",
  forbidden: "This key may not do that",
  id_taken: "This id is taken",
  invalid_code: "This is not a code of these bits",
  invalid_filter: "This filter cannot be used",
  no_collection: "There is no such collection",
  no_codec: "This service takes no vectors",
  no_model: "This service takes no images",
  no_samples: "This service has no held-out images",
  no_text_tower: "This service takes no texts",
  no_vectors: "No vectors are kept here",
  not_an_image: "This is not an image",
  not_found: "There is no such item here",
  read_only: "This service only reads",
  timeout: "The service took too long",
  too_many_requests: "These were too many requests",
  unauthorized: "A key is needed",
  unknown_label: "There is no such label here",
  unusable_image: "This image cannot be used",
  unusable_text: "This text cannot be used",
  unusable_vector: "This vector cannot be used",
};

/** Texts that replace messages for programs. */
const WORDS = {
  forbidden: "Whoever runs this service can give you one that may.",
  too_many_requests: "Wait a few seconds, then try again.",
  unauthorized: "Nothing is done without it. Whoever runs this service can give you one.",
};

/** An error with its text for people; `again` if the same request may succeed later. */
export class Failure extends Error {
  constructor(title, message, { again = false, code = "" } = {}) {
    super(message);
    Object.assign(this, { title, again, code });
  }
}

/** The JSON of the answer, or null if there is none. */
export async function request(path, options) {
  const response = await send(path, options);
  if (response.status === 204) return null;
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  const { code, message } = body?.error ?? {};
  throw new Failure(TITLES[code] ?? "The request failed", WORDS[code] ?? sentence(message ?? `HTTP ${response.status}`), { again: response.status >= 500 || response.status === 429, code });
}

async function send(path, options) {
  try {
    return await fetch(urlOf(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The service does not answer", "Check that dhih-serve is still running, then try again.", { again: true });
  }
}
