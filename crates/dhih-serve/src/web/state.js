// What the page is about, and the address that says so (?id=, ?sample=, ?text= or ?code=, and ?label= for each label of the
// filter, ?where= for its metadata, ?collection= for another collection), so that back, reload and links work.
import { collection } from "./request.js";

export const state = {
  info: null, // answer of /v1/info
  query: null, // { by: "id" | "sample" | "code" | "text" | "vector" | "file", value, label, image, source, name, file }
  answer: null, // answer of the last search
  labels: [], // the filter: any of these, or all images where there are none
  fields: {}, // the filter by metadata: { name: [values] } or { name: { gte, lte } }, all of which an item must meet
};

/** Whether a search may go by this: `image`, `text`, `vector`, `code`, `id` or `sample`. Images, as long as nothing is known. */
export const can = (by) => state.info?.search_by.includes(by) ?? by === "image";

/** What the index has, in a word. */
export const noun = () => (can("image") ? "image" : "item");

/** Whether a query has no address: it is too long for one. */
const isLong = (query) => query.by === "file" || query.by === "vector";

/** Uploaded images by their code, the last one last: { image: URL, name, file }. */
const uploads = new Map();
const MOST_UPLOADS = 20;

/** Keeps an uploaded image to come back to, and lets the oldest go. */
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

/** The filter by metadata of an address, as far as it is one. */
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
