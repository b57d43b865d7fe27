// Elements and words: helpers of every part of the page. Nothing here knows what is searched for, or talks to the service.

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

/** A label as the service has it (a class, several, or null) in words. */
export const words = (label) => (Array.isArray(label) ? label.join(", ") : label === null || label === undefined ? "" : String(label));
export const share = (a, b) => [a].flat().some((one) => [b].flat().includes(one));

/** "a, b or c"; of a long list the first three and how many more. */
export function either(names) {
  const shown = names.length > 4 ? [...names.slice(0, 3), `${names.length - 3} others`] : names;
  return new Intl.ListFormat("en", { type: "disjunction" }).format(shown);
}

/** An id as digits, from where the picture is: it may be larger than a number of JavaScript holds. */
export const idOf = (item) => item.image_url.match(/\/items\/(\d+)\/image/)[1];

let said = 0; // timer of what is said

/** Says in a few words what was done, until something else happens, but not for long. */
export function say(text) {
  clearTimeout(said);
  $("said").textContent = text;
  if (text) said = setTimeout(say, 10_000, "");
}

/** A chip for each name in `box`. With more than fit at a glance, the box scrolls and `field` narrows them. */
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
    // What is chosen stays in sight: it counts even if it is not looked for.
    for (const [name, made] of chips) made.hidden = !name.includes(wanted) && !made.matches("[aria-pressed=true], :has(:checked)");
    none.hidden = chips.some(([name]) => name.includes(wanted));
  };
}
