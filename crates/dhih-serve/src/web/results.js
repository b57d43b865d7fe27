// Displays the results of a search: the query, the summary with its histogram, and the neighbours; or a message in their place.
import { bitsOf, cells, columns, differing, room, shape, svg } from "./bits.js";
import { $, button, either, element, idOf, ms, number, picture, plural, share, words } from "./dom.js";
import { metadataList, namedFields } from "./fields.js";
import { showActs } from "./items.js";
import { address, can, noun, state } from "./state.js";

/** Displays the answer; `acts` has the actions for an empty one: `clearFilter` and `anyDistance`. */
export function show(acts) {
  const { query, answer } = state;
  const labelled = words(query.label) !== "";
  const same = answer.hits.map((hit) => labelled && share(query.label, hit.label));
  showQuery();
  showSummary(labelled, same);
  if (answer.hits.length === 0) nothing(acts);
  else $("notice").hidden = true;
  $("grid").replaceChildren(...answer.hits.map((hit, i) => card(hit, labelled && (same[i] ? "same" : "other"))));
}

/** Explains why there are no results, and offers to remove the filter or the radius. */
function nothing({ clearFilter, anyDistance }) {
  const radius = Number($("radius").value);
  const near = radius < state.info.bits;
  const named = filtered(" labelled ");
  const title = `Nothing${named}${near ? " that near" : ""}`;
  const where = radius === 0 ? "has exactly this code" : `is within ${plural(radius, "bit")} of this one`;
  const text = near ? `No ${noun()}${named} ${where}.` : `The index has no ${noun()}${named}.`;
  const actions = [];
  if (named) actions.push(["Clear the filter", clearFilter]);
  if (near) actions.push(["Allow any distance", anyDistance]);
  notice(title, text, ...actions);
  $("notice").classList.add("nothing");
}

/** The filter in words, after `labelled` and the labels; empty without a filter. */
function filtered(labelled) {
  const labels = state.labels.length ? `${labelled}${either(state.labels)}` : "";
  const fields = namedFields();
  return labels + (fields.length ? ` with ${new Intl.ListFormat("en").format(fields)}` : "");
}

/** The name of a query. */
function called({ by, value, name, image }) {
  if (by === "vector") return `A vector of ${number.format(value.length)} numbers`;
  if (by === "text") return `“${value}”`;
  if (by === "code") return name || (image ? "Your image" : "A code");
  return `${by === "id" ? "Item" : "Sample"} ${value}`;
}

function showQuery() {
  const { query } = state;
  const what = called(query);
  const label = words(query.label);
  $("query").hidden = false;
  $("query-title").replaceChildren(...[label || what, label && what, query.source].filter(Boolean).map((text, i) => element(i ? "small" : "span", "", text)));
  // Long names are truncated.
  for (const line of $("query-title").children) line.title = line.textContent;
  const name = label ? `${label} (${what.toLowerCase()})` : what;
  $("preview").hidden = !query.image;
  if (query.image) $("preview").src = query.image;
  $("preview").alt = `The query: ${name}`;
  $("drop").classList.toggle("filled", Boolean(query.image));
  document.title = `${name} · DHIH image search`;
  showBits();
  showActs();
}

function showBits() {
  const { bits } = state.info;
  const set = bitsOf(state.answer.code, bits).filter(Boolean).length;
  $("bits").replaceChildren(drawn(state.answer.code, [], columns(bits), `Code of ${bits} bits, ${set} of them set`));
  $("hex").textContent = state.answer.code;
  $("metadata").replaceChildren(metadataList(state.query.metadata), ...original(state.query.link));
}

/** The link to the original of an item, if there is one. */
function original(url) {
  if (!url) return [];
  const link = element("a", "original", "Open the original");
  Object.assign(link, { href: url, target: "_blank", rel: "noopener" });
  return [link];
}

/** Marks the bits of the query's code that differ from a result's. */
function mark(bits) {
  $("bits").querySelector(".bit-differs")?.setAttribute("d", cells(bits, columns(state.info.bits)));
}

function showSummary(labelled, same) {
  const { info, query, answer: { hits, took_ms } } = state;
  $("summary").hidden = false;
  $("results-title").textContent = hits.length === 0 ? "No neighbours" : hits.length === 1 ? "Nearest neighbour" : `${number.format(hits.length)} nearest neighbours`;
  const encode = took_ms.encode || query.encode;
  const filter = filtered(" for ");
  const parts = [`${encode ? `Encoded in ${ms(encode)} ms, searched` : "Searched"} ${plural(info.items, "code")}${filter} in ${ms(took_ms.search)} ms.`];
  if (hits.length && state.answer.exact !== undefined) parts.push(` ${certainty(state.answer)}`);
  if (labelled && hits.length) parts.push(" ", element("span", "same", `${same.filter(Boolean).length} of ${number.format(hits.length)} share its label.`));
  $("status").replaceChildren(...parts);
  showHistogram(hits, same, labelled);
}

/** How far the rescored neighbours are certain to be complete. */
function certainty({ exact, certain_within }) {
  const within = certain_within === null ? "" : `, and everything within ${plural(certain_within, "bit")} is among them`;
  return `Ordered by cosine: the candidates are ${exact ? "exactly the nearest by code" : "near by code"}${within}.`;
}

function showHistogram(hits, same, labelled) {
  $("histogram").hidden = hits.length < 2;
  if (hits.length < 2) return;
  const distances = hits.map((hit) => hit.distance);
  const [nearest, furthest] = [Math.min(...distances), Math.max(...distances)];
  const last = Math.max(furthest, Math.min(15, state.info.bits));
  const width = Math.ceil((last + 1) / 32);
  const bins = Array.from({ length: Math.floor(last / width) + 1 }, () => [0, 0]);
  hits.forEach((hit, i) => bins[Math.floor(hit.distance / width)][same[i] ? 0 : 1]++);
  const most = Math.max(...bins.map(([a, b]) => a + b));
  const gap = 0.2;
  const bars = bins.flatMap(([a, b], i) => {
    const bar = (name, y, height) => shape("rect", { class: name, x: i + gap / 2, y: 40 - y - height, width: 1 - gap, height });
    const [good, rest] = [(40 * a) / most, (40 * b) / most];
    return [bar("bar-same", 0, good), bar("bar", good, rest)];
  });
  const drawn = svg(`0 0 ${bins.length} 40`, `Histogram: distances from ${nearest} to ${furthest}, at most ${plural(most, noun())} at one`, ...bars);
  drawn.setAttribute("preserveAspectRatio", "none");
  $("histogram").className = labelled ? "" : "unlabelled";
  $("histogram").replaceChildren(drawn, element("figcaption", "", element("span", "", "0"), element("span", "", "distance in bits"), element("span", "", String(last))));
}

function card(hit, match) {
  const bits = differing(hit.code, state.answer.code, state.info.bits);
  const label = words(hit.label);
  const title = bits.length ? `${plural(bits.length, "bit")} of ${state.info.bits} ${bits.length === 1 ? "differs" : "differ"}: ${bits.join(", ")}` : "The same code";
  const strip = svg(`0 0 ${state.info.bits} 1`, "", shape("path", { d: bits.map((k) => `M${k} 0h1v1h-1z`).join("") }));
  strip.setAttribute("class", "differs");
  strip.setAttribute("preserveAspectRatio", "none");
  strip.setAttribute("shape-rendering", "crispEdges");
  const shown = state.info.thumbnails ? picture(hit.image_url, "", true) : drawn(hit.code, bits, Math.ceil(Math.sqrt(state.info.bits)));
  const frame = element("span", "picture", shown, element("span", "badge", String(hit.distance)));
  const caption = element("span", "caption");
  if (match) caption.append(element("span", "mark"));
  if (label) caption.append(element("b", "", label));
  if (hit.similarity !== undefined) caption.append(element("span", "cosine", hit.similarity.toFixed(3)));
  caption.append(element("small", "", `#${idOf(hit)}`));
  const link = element("a", `card ${match || ""}`, frame, strip, caption);
  link.href = address({ by: "id", value: idOf(hit) });
  link.title = title;
  link.setAttribute("aria-label", `Item ${idOf(hit)}${label ? `, ${label}` : ""}, distance ${hit.distance}${match === "same" ? ", same label" : ""}. Search by it`);
  for (const event of ["pointerenter", "focus"]) link.addEventListener(event, () => mark(bits));
  for (const event of ["pointerleave", "blur"]) link.addEventListener(event, () => mark([]));
  return element("li", "", link);
}

/** A drawing of a code with a fixed number of cells per row. Bits that differ from another code are marked. */
function drawn(code, differ, across, label = "") {
  const { bits } = state.info;
  const places = (value) => bitsOf(code, bits).flatMap((bit, k) => (bit === value ? [k] : []));
  const path = (value) => shape("path", { class: `bit-${value}`, d: cells(places(value), across) });
  return svg(room(bits, across), label, path(0), path(1), shape("path", { class: "bit-differs", d: cells(differ, across) }));
}

/** A placeholder for each expected neighbour, or the previous neighbours, paler. */
export function waiting(k) {
  if ($("grid").childElementCount) {
    $("grid").classList.add("stale");
    return;
  }
  $("notice").hidden = true;
  $("grid").replaceChildren(...Array.from({ length: Math.min(20, k) }, () => element("li", "skeleton")));
}

/** A short message in place of results, with actions: `[text, act]`, the most important one first. */
export function notice(title, text, ...actions) {
  $("notice").hidden = false;
  $("notice").className = can("image") ? "notice" : "notice pictureless";
  $("notice").removeAttribute("role");
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice-actions").replaceChildren(...actions.map(([name, act], i) => button(i ? "secondary" : "primary", name, act)));
}

export function clear() {
  state.answer = null;
  for (const id of ["summary", "query", "preview"]) $(id).hidden = true;
  $("drop").classList.remove("filled");
  $("grid").replaceChildren();
  document.title = "DHIH image search";
}
