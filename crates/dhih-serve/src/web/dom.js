// Helpers for elements and texts, for all parts of the page. This file knows neither searches nor the service.

export const $ = (id) => document.getElementById(id);

export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function button(className, text, act) {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

export function picture(url, alt, lazy) {
  const image = new Image();
  if (lazy) image.loading = "lazy";
  image.alt = alt;
  image.addEventListener("load", () => sharpen(image));
  image.src = url;
  return image;
}

export const sharpen = (image) => image.classList.toggle("pixelated", image.naturalWidth <= 96);

export const number = new Intl.NumberFormat("en");
export const plural = (n, one) => `${number.format(n)} ${one}${n === 1 ? "" : "s"}`;
export const ms = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0));
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** The text of a label of the service (a class, several classes, or null). */
export const words = (label) => (Array.isArray(label) ? label.join(", ") : label === null || label === undefined ? "" : String(label));
export const share = (a, b) => [a].flat().some((one) => [b].flat().includes(one));

/** "a, b or c"; for a long list, the first three and the number of the others. */
export function either(names) {
  const shown = names.length > 4 ? [...names.slice(0, 3), `${names.length - 3} others`] : names;
  return new Intl.ListFormat("en", { type: "disjunction" }).format(shown);
}

/** The digits of an id, taken from the URL of its picture, because it may exceed the integers that JavaScript numbers represent exactly. */
export const idOf = (item) => item.image_url.match(/\/items\/(\d+)\/image/)[1];

let said = 0; // timer of the short message

/** Shows a short message for a limited time, or until the next one. */
export function say(text) {
  clearTimeout(said);
  $("said").textContent = text;
  if (text) said = setTimeout(say, 10_000, "");
}

/** A chip for each name in `box`. If there are many, the box scrolls and `field` filters them. */
export function fillChips(box, field, names, chip) {
  const many = names.length > 20;
  const chips = names.map((name) => [name.toLowerCase(), chip(name)]);
  const none = element("p", "quiet", "No label has this in its name.");
  none.hidden = true;
  box.classList.toggle("many", many);
  box.replaceChildren(...chips.map(([, made]) => made), none);
  field.hidden = !many;
  field.value = "";
  field.oninput = () => {
    const wanted = field.value.trim().toLowerCase();
    // Chosen chips stay visible even if they do not match the search text, because they are part of the filter.
    for (const [name, made] of chips) made.hidden = !name.includes(wanted) && !made.matches("[aria-pressed=true], :has(:checked)");
    none.hidden = chips.some(([name]) => name.includes(wanted));
  };
}
