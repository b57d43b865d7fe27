// The filter by metadata: for each declared field its values as chips, or for numbers the bounds of a range.
import { call } from "./api.js";
import { $, button, element, fillChips, number } from "./dom.js";
import { state } from "./state.js";

let declared = {}; // answer of /v1/fields: { name: { type, items, distinct, values } }

/** Loads the declared fields and shows a filter for each one that items have; `changed` is called when the choice changes. */
export async function loadFields(changed) {
  declared = (await call("/v1/fields")).fields;
  const shown = Object.entries(declared).filter(([, field]) => field.items > 0);
  $("fields").hidden = shown.length === 0;
  $("fields-list").replaceChildren(...shown.map(([name, field]) => (field.type === "number" ? range(name, changed) : values(name, field, changed))));
  showFields();
}

/** Chips for the most frequent values of a field. */
function values(name, field, changed) {
  const all = field.values.map(({ value }) => String(value));
  const [box, find] = [element("div", "chips"), element("input")];
  Object.assign(find, { type: "search", placeholder: "Find a value", autocomplete: "off" });
  find.setAttribute("aria-label", `Find a value of ${name}`);
  const group = part(name, find, box);
  fillChips(box, find, all, (value) => {
    const chip = button("chip", value, () => changed(withField(name, toggled(all, name, value))));
    Object.assign(chip.dataset, { field: name, value });
    return chip;
  });
  if (field.distinct > all.length) group.append(element("p", "quiet", `The ${all.length} most frequent of ${number.format(field.distinct)} values.`));
  return group;
}

/** Two numbers, each of which is optional. */
function range(name, changed) {
  const bound = (key, text) => {
    const input = element("input");
    Object.assign(input, { type: "number", step: "any", placeholder: text });
    Object.assign(input.dataset, { field: name, bound: key });
    input.setAttribute("aria-label", `${name} ${text}`);
    input.addEventListener("change", () => {
      const bounds = { ...state.fields[name] };
      delete bounds[key];
      if (input.value !== "" && input.checkValidity()) bounds[key] = Number(input.value);
      changed(withField(name, bounds));
    });
    return input;
  };
  return part(name, element("div", "range", bound("gte", "from"), bound("lte", "to")));
}

function part(name, ...children) {
  const group = element("div", "field", element("h3", "", name), ...children);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", `Show only these: ${name}`);
  return group;
}

/** The chosen values of a field with `value` added or removed, in the order of the chips. */
function toggled(all, name, value) {
  const chosen = new Set(state.fields[name]);
  if (!chosen.delete(value)) chosen.add(value);
  return [...all.filter((one) => chosen.has(one)), ...[...chosen].filter((one) => !all.includes(one))];
}

function withField(name, chosen) {
  const fields = { ...state.fields, [name]: chosen };
  if (Object.keys(chosen).length === 0) delete fields[name];
  return fields;
}

/** Displays the choice. */
export function showFields() {
  for (const chip of $("fields").querySelectorAll(".chip")) {
    const chosen = state.fields[chip.dataset.field];
    chip.setAttribute("aria-pressed", Array.isArray(chosen) && chosen.includes(chip.dataset.value));
  }
  for (const input of $("fields").querySelectorAll("[data-bound]")) input.value = state.fields[input.dataset.field]?.[input.dataset.bound] ?? "";
  $("fields-clear").hidden = Object.keys(state.fields).length === 0;
}

/** The filter in the form of the API; null if nothing is chosen. */
export function filterOf(fields) {
  const typed = (name, value) => (declared[name]?.type === "bool" ? value === "true" : value);
  const condition = ([field, chosen]) => (Array.isArray(chosen) ? { field, any: chosen.map((value) => typed(field, value)) } : { field, range: chosen });
  const must = Object.entries(fields).map(condition);
  return must.length ? JSON.stringify({ must }) : null;
}

/** The choice in words. */
export function namedFields() {
  return Object.entries(state.fields).map(([name, chosen]) => {
    if (Array.isArray(chosen)) return `${name} ${new Intl.ListFormat("en", { type: "disjunction" }).format(chosen)}`;
    const { gte, lte } = chosen;
    return [name, gte !== undefined && `from ${gte}`, lte !== undefined && `to ${lte}`].filter((word) => word !== false).join(" ");
  });
}

/** The metadata of an item as a list of names and values. */
export function metadataList(metadata) {
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const entries = Object.entries(metadata ?? {}).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", text(value))));
  const list = element("dl", "metadata", ...entries);
  list.hidden = entries.length === 0;
  return list;
}
