// Adding the uploaded image to the index, and deleting the item that is looked at.
import { call } from "/api.js";
import { converse } from "/dialog.js";
import { $, element, fillChips, sharpen, words } from "/dom.js";
import { state } from "/state.js";

/** Shows what can be done with the query: only what the service lets be done. */
export function showActs() {
  const { info, query } = state;
  $("add").hidden = !(info.writable && query.by === "code" && query.file);
  $("delete").hidden = !(info.writable && query.by === "id");
  $("acts").hidden = $("add").hidden && $("delete").hidden;
}

/** Asks for the label, and adds the image. Gives the new item, or null if it was not added. */
export function add() {
  const { query } = state;
  $("add-name").textContent = query.name || "Your image";
  show($("add-image"), query.image);
  fillLabels();
  return converse($("add-dialog"), (form) => {
    const body = new FormData();
    body.set("image", query.file);
    for (const label of form.getAll("label").filter(Boolean)) body.append("label", label);
    return call("/v1/items", { method: "POST", body });
  });
}

/** One label of several, or any number of them: whatever the index keeps. */
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

/** Asks once more, and deletes the item. Gives its id, or null if it is still there. */
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
