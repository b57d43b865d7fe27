// The state of the page, and the address that represents it (?id=, ?sample=, ?text= or ?code=, and ?label= for each label of the filter,
// ?where= for its metadata, ?collection= for another collection), so that back, reload and links work.
import { collection } from "./request.js";

export const state = {
  info: null, // answer of /v1/info
  query: null, // { by: "id" | "sample" | "code" | "text" | "vector" | "file", value, label, image, source, name, file }
  answer: null, // answer of the last search
  labels: [], // the label filter: any of these labels; empty for all images
  fields: {}, // the metadata filter: { name: [values] } or { name: { gte, lte } }, all of which an item must meet
};

/** Whether the service takes this kind of query: `image`, `text`, `vector`, `code`, `id` or `sample`. Assumes images until the service has
 * answered. */
export const can = (by) => state.info?.search_by.includes(by) ?? by === "image";

/** The word for what the index contains, for messages. */
export const noun = () => (can("image") ? "image" : "item");

/** Whether a query is too long for an address. */
const isLong = (query) => query.by === "file" || query.by === "vector";

/** Uploaded images by their code, the most recent one last: { image: URL, name, file }. */
const uploads = new Map();
const MOST_UPLOADS = 20;

/** Keeps an uploaded image for the back button, and discards the oldest. */
export function keepUpload(code, upload) {
  if (uploads.has(code)) URL.revokeObjectURL(uploads.get(code).image);
  uploads.delete(code);
  uploads.set(code, upload);
  if (uploads.size <= MOST_UPLOADS) return;
  const [[oldest, { image }]] = uploads;
  uploads.delete(oldest);
  URL.revokeObjectURL(image);
}

export function address(query = state.query) {
  const params = new URLSearchParams();
  if (collection !== null) params.set("collection", collection);
  if (query && !isLong(query)) params.set(query.by, query.value);
  for (const label of state.labels) params.append("label", label);
  if (Object.keys(state.fields).length) params.set("where", JSON.stringify(state.fields));
  const text = params.toString();
  return text ? `?${text}` : "./";
}

export function fromAddress() {
  const params = new URLSearchParams(location.search);
  return { query: asked(params), labels: [...new Set(params.getAll("label"))], fields: where(params.get("where")) };
}

/** The metadata filter in an address, if it is valid. */
function where(text) {
  try {
    const fields = Object.entries(JSON.parse(text ?? "{}"));
    const isRange = (chosen) => Object.entries(chosen).every(([key, bound]) => ["gte", "lte"].includes(key) && Number.isFinite(bound));
    const isOne = ([, chosen]) => (Array.isArray(chosen) ? chosen.every((value) => typeof value === "string") : typeof chosen === "object" && chosen !== null && isRange(chosen));
    return Object.fromEntries(fields.filter(isOne));
  } catch {
    return {};
  }
}

function asked(params) {
  for (const by of ["id", "sample"]) {
    if (/^\d+$/.test(params.get(by) ?? "")) return { by, value: params.get(by) };
  }
  const [text, code] = [params.get("text")?.trim(), params.get("code")];
  if (text) return { by: "text", value: text };
  return code ? { by: "code", value: code, ...uploads.get(code) } : null;
}
