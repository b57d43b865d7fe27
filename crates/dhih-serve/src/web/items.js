// Adds the query to the index, and deletes the displayed item.
import { call } from "./api.js";
import { converse } from "./dialog.js";
import { $, element, fillChips, sharpen, words } from "./dom.js";
import { can, state } from "./state.js";

/** Shows the actions for the query that the service allows. */
export function showActs() {
  const { info, query } = state;
  $("add").hidden = !(info.writable && body(query));
  $("delete").hidden = !(info.writable && query.by === "id");
  $("acts").hidden = $("add").hidden && $("delete").hidden;
}

/** The form in which the query is added: an uploaded image or, if the service takes none, a code or a vector, depending on the index. */
function body(query) {
  const by = state.info.index?.vectors ? "vector" : "code";
  if (query.by === "code" && query.file) return "form";
  return !can("image") && (query.by === by || query.by === "vector") ? "json" : null;
}

/** Asks for the label, and adds the query. Returns the new item, or null if it was not added. */
export function add() {
  const { query } = state;
  $("add-name").textContent = query.name || (query.image ? "Your image" : `This ${query.by}`);
  show($("add-image"), query.image);
  fillLabels();
  return converse($("add-dialog"), (form) => {
    const labels = form.getAll("label").filter(Boolean);
    if (body(query) === "json") {
      const item = JSON.stringify({ [query.by]: query.value, ...(labels.length && { label: labels }) });
      return call("/v1/items", { method: "POST", headers: { "content-type": "application/json" }, body: item });
    }
    const item = new FormData();
    item.set("image", query.file);
    for (const label of labels) item.append("label", label);
    return call("/v1/items", { method: "POST", body: item });
  });
}

/** One label or several, depending on the index. */
function fillLabels() {
  const { classes, labels } = state.info;
  const single = labels === "single";
  $("add-labels").hidden = classes.length === 0 || labels === "none";
  $("add-legend").textContent = single ? "Its label" : "Its labels";
  fillChips($("add-chips"), $("add-find"), $("add-labels").hidden ? [] : single ? ["", ...classes] : classes, (name) => {
    const input = element("input");
    Object.assign(input, { type: single ? "radio" : "checkbox", name: "label", value: name, checked: single && name === "" });
    return element("label", "chip", input, name || "None");
  });
}

/** Asks for confirmation, and deletes the item. Returns its id, or null if it was not deleted. */
export function remove() {
  const { query } = state;
  const label = words(query.label);
  $("delete-title").textContent = `Delete item ${query.value}?`;
  $("delete-name").textContent = label ? `${label} (item ${query.value})` : `Item ${query.value}`;
  show($("delete-image"), query.image);
  return converse($("delete-dialog"), async () => {
    await call(`/v1/items/${query.value}`, { method: "DELETE" });
    return query.value;
  });
}

function show(image, url) {
  image.onload = () => sharpen(image);
  image.hidden = !url;
  if (url) image.src = url;
}
