// The input fields for queries other than pictures: a text, if the run has a text tower; or a code, an id or a vector, if the service does
// not take pictures.
import { $ } from "./dom.js";
import { can, state } from "./state.js";

/** The number of candidates for rescoring. Texts need more, because their codes are farther from those of pictures than these are from each
 * other. */
const CANDIDATES = 100;
const CANDIDATES_FOR_TEXT = 1000;

/** Shows the field in place of the one for pictures if there is no model; `asked` is called with the query. */
export function setUpAsk(asked) {
  const { bits, codec, index } = state.info;
  const kinds = [`a code (${digits()} hexadecimal digits)`, "the number of an item"];
  if (can("vector")) kinds.unshift(`a vector of ${codec.dims} numbers`);
  $("drop").hidden = !can("image");
  $("ask").hidden = can("image");
  if (!can("image")) $("tagline").textContent = "Search by binary codes";
  $("ask-hint").textContent = `Give ${new Intl.ListFormat("en", { type: "disjunction" }).format(kinds)}.`;
  $("ask-text").placeholder = can("vector") ? "[0.12, -0.5, …]" : "0".repeat(Math.min(digits(), 24)) + (bits > 96 ? "…" : "");
  $("cosine-line").hidden = !index?.vectors;
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const query = understood($("ask-text").value.trim());
    $("ask-problem").textContent = query ? "" : `This is none of these: ${kinds.join(", ")}.`;
    if (query) asked(query);
  });
  // Enter submits the query, as in a search field. A vector may have several lines.
  $("ask-text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    $("ask").requestSubmit();
  });
}

/** Shows the field for texts if the service takes them; `asked` is called with the query. */
export function setUpWords(asked) {
  $("words").hidden = !can("text");
  $("words").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = $("words-text").value.trim();
    $("words-problem").textContent = value ? "" : "Say in a few words what the picture shows.";
    if (value) asked({ by: "text", value });
  });
}

/** Fills the field with the text of the current search, or clears it. */
export function showWords(query) {
  $("words-text").value = query?.by === "text" ? query.value : "";
  $("words-problem").textContent = "";
}

/** The hexadecimal digits of a code. */
const digits = () => 2 * Math.ceil(state.info.bits / 8);

/** Parses the input into a query; null if it is not valid. */
function understood(text) {
  if (/^[\da-f]+$/i.test(text) && text.length === digits()) return { by: "code", value: text.toLowerCase() };
  if (/^#?\d{1,20}$/.test(text)) return { by: "id", value: text.replace("#", "") };
  const numbers = text.replace(/^\[|\]$/g, "").trim().split(/[\s,;]+/).map(Number);
  return can("vector") && numbers.length > 1 && numbers.every(Number.isFinite) ? { by: "vector", value: numbers } : null;
}

/** The number of candidates to rescore for this query; null if it has no vector, or rescoring is off. */
export function candidates(query, neighbours) {
  const hasVector = query.file || ["file", "id", "text", "vector"].includes(query.by);
  const wanted = state.info.index?.vectors && $("cosine").checked && hasVector;
  return wanted ? Math.max(query.by === "text" ? CANDIDATES_FOR_TEXT : CANDIDATES, neighbours) : null;
}
