// Codes as bits and as drawings of bits. This file knows neither searches nor the service.

/** Bit k of a code is bit k % 8 of byte k / 8. */
export function bitsOf(hex, bits) {
  return Array.from({ length: bits }, (_, k) => (parseInt(hex.slice((k >> 3) * 2, (k >> 3) * 2 + 2), 16) >> (k & 7)) & 1);
}

/** The positions in which two codes differ. */
export function differing(a, b, bits) {
  const other = bitsOf(b, bits);
  return bitsOf(a, bits).flatMap((bit, k) => (bit === other[k] ? [] : [k]));
}

/** The number of columns in the drawing of a code. */
export const columns = (bits) => (bits > 128 ? 32 : Math.min(16, bits));

/** An SVG path of rounded cells, 12 units apart, one for each of `places`, with a fixed number of cells per row. */
export function cells(places, across) {
  const cell = (k) => `M${(k % across) * 12 + 3} ${Math.floor(k / across) * 12 + 1}`;
  return places.map((k) => `${cell(k)}h6a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2h-6a2 2 0 0 1-2-2v-6a2 2 0 0 1 2-2z`).join("");
}

/** The size of the drawing of a code. */
export const room = (bits, across) => `0 0 ${across * 12} ${Math.ceil(bits / across) * 12}`;

/** A drawing with a label for screen readers. Without a label it is decorative. */
export function svg(viewBox, label, ...children) {
  const drawing = shape("svg", label ? { viewBox, role: "img", "aria-label": label } : { viewBox, "aria-hidden": "true" });
  drawing.append(...children);
  return drawing;
}

export function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
