// The choice of the collection, if there are several.
import { call } from "./api.js";
import { $ } from "./dom.js";
import { collection } from "./request.js";

const DEFAULT = "default";

const addressOf = (name) => (name === DEFAULT ? "./" : `?${new URLSearchParams({ collection: name })}`);

/** Lists the collections. If the current one does not exist, the page goes to the first one. */
export async function setUpCollections() {
  const { collections } = await call("/v1/collections");
  const names = collections.map(({ name }) => name);
  const current = collection ?? DEFAULT;
  if (collection === null && names.length > 0 && !names.includes(DEFAULT)) {
    location.replace(addressOf(names[0]));
    // Never resolves, because the page is being left.
    await new Promise(() => {});
  }
  const choice = $("collection");
  if (collection !== null) $("home").href = addressOf(current);
  choice.replaceChildren(...names.map((name) => new Option(name, name, false, name === current)));
  if (!names.includes(current)) choice.selectedIndex = -1;
  $("collections").hidden = names.length < 2 && names[0] === current;
  // Another collection has other items, so the page is loaded again.
  choice.addEventListener("change", () => location.assign(addressOf(choice.value)));
}
