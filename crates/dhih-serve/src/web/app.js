// The search page. The address names what is searched by (?id=, ?sample= or ?code=), so that back, reload and links work.
import { bitsOf, cells, columns, differing, shape, svg } from "/bits.js";

const $ = (id) => document.getElementById(id);
const NEIGHBOURS = [1, 3, 5, 10, 20, 30, 40, 50, 100, 200, 500, 1000];
const number = new Intl.NumberFormat("en");

let info = null; // answer of /v1/info
let query = null; // { by: "id" | "sample" | "code" | "file", value, label, image }
let answer = null; // answer of the last search
let running = null; // AbortController of the search under way
let firstSample = 0;
const uploads = new Map(); // code -> URL of the uploaded image

// ---- Talking to the service

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The service does not answer", "Check that dhih-serve is still running, then try again.", true);
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Failure(TITLES[body?.error?.code] ?? "The search failed", sentence(body?.error?.message ?? `HTTP ${response.status}`), response.status >= 500);
}

class Failure extends Error {
  constructor(title, message, again = false) {
    super(message);
    Object.assign(this, { title, again });
  }
}

const TITLES = {
  body_too_large: "This image is too large",
  busy: "The service is busy",
  invalid_code: "This is not a code of this model",
  not_an_image: "This is not an image",
  not_found: "There is no such image here",
  timeout: "The service took too long",
  unusable_image: "This image cannot be used",
};

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

function request(signal) {
  const k = NEIGHBOURS[$("k").value];
  const params = new URLSearchParams({ k, codes: true });
  if (Number($("radius").value) < info.bits) params.set("radius", $("radius").value);
  const options = { method: "POST", signal };
  if (query.by === "file") {
    options.body = new FormData();
    options.body.set("image", query.value);
  } else {
    // Ids are written as digits: they may be larger than a number of JavaScript holds.
    options.body = query.by === "code" ? JSON.stringify({ code: query.value }) : `{"${query.by}":${query.value}}`;
    options.headers = { "content-type": "application/json" };
  }
  return call(`/v1/search?${params}`, options);
}

async function search() {
  if (!query || !info) return;
  running?.abort();
  const mine = (running = new AbortController());
  const asked = query;
  waiting();
  try {
    const [found, about] = await Promise.all([request(mine.signal), describe(asked, mine.signal)]);
    if (mine !== running) return;
    Object.assign(asked, about);
    if (asked.by === "file") remember(asked, found);
    answer = found;
    show();
  } catch (error) {
    if (error.name === "AbortError" || mine !== running) return;
    fail(error);
  } finally {
    if (mine === running) $("grid").classList.remove("stale");
  }
}

/** Label and picture of an item or a sample. */
async function describe(of, signal) {
  if (of.image || of.by === "file" || of.by === "code") return {};
  const about = await call(`/v1/${of.by}s/${of.value}`.replace("/ids/", "/items/"), { signal });
  return { label: about.label, image: about.image_url };
}

/** An uploaded image is searched by its code from now on: no second upload, and an address to come back to. */
function remember(asked, found) {
  uploads.set(found.code, asked.image);
  Object.assign(asked, { by: "code", value: found.code, encode: found.took_ms.encode });
  history.pushState(null, "", address());
}

// ---- The address

function address() {
  return query ? `?${query.by}=${query.value}` : "/";
}

function go(next, push = true) {
  query = next;
  if (push && next?.by !== "file") history.pushState(null, "", address());
  if (next) search();
  else welcome();
}

function fromAddress() {
  const params = new URLSearchParams(location.search);
  for (const by of ["id", "sample"]) {
    if (/^\d+$/.test(params.get(by) ?? "")) return { by, value: params.get(by) };
  }
  const code = params.get("code");
  return code ? { by: "code", value: code, image: uploads.get(code) } : null;
}

function upload(file) {
  if (!file) return;
  if (info && file.size > info.limits.body_bytes - 1024) {
    query = null;
    fail(new Failure(TITLES.body_too_large, `${file.name || "It"} has ${number.format(Math.ceil(file.size / 1048576))} MiB; at most ${Math.floor(info.limits.body_bytes / 1048576)} are taken. Send a smaller one.`));
    return;
  }
  go({ by: "file", value: file, image: URL.createObjectURL(file), name: file.name });
}

// ---- What is shown

function showBits() {
  const bits = bitsOf(answer.code, info.bits);
  const path = (value) => shape("path", { class: `bit-${value}`, d: cells(bits.flatMap((bit, k) => (bit === value ? [k] : [])), info.bits) });
  const box = `0 0 ${columns(info.bits) * 12} ${Math.ceil(info.bits / columns(info.bits)) * 12}`;
  $("bits").replaceChildren(svg(box, `Code of ${info.bits} bits, ${bits.filter(Boolean).length} of them set`, path(0), path(1), shape("path", { class: "bit-differs" })));
  $("hex").textContent = answer.code;
}

/** Marks in the query's code the bits in which a result differs. */
function mark(bits) {
  document.querySelector(".bit-differs")?.setAttribute("d", cells(bits, info.bits));
}

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function picture(url, alt, lazy) {
  const image = new Image();
  if (lazy) image.loading = "lazy";
  image.alt = alt;
  image.addEventListener("load", () => sharpen(image));
  image.src = url;
  return image;
}

const sharpen = (image) => image.classList.toggle("pixelated", image.naturalWidth <= 96);
const words = (label) => (Array.isArray(label) ? label.join(", ") : label === null || label === undefined ? "" : String(label));
const share = (a, b) => [a].flat().some((one) => [b].flat().includes(one));
const idOf = (hit) => hit.image_url.split("/")[3];
const plural = (n, one) => `${number.format(n)} ${one}${n === 1 ? "" : "s"}`;
const ms = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0));

function show() {
  const labelled = words(query.label) !== "";
  const same = answer.hits.map((hit) => labelled && share(query.label, hit.label));
  showQuery();
  showSummary(labelled, same);
  const none = answer.hits.length === 0;
  if (none) {
    notice("Nothing that near", `No image is within ${plural(Number($("radius").value), "bit")} of this one. Allow a larger distance to see the nearest.`, "Allow any distance", () => {
      $("radius").value = info.bits;
      settings();
      search();
    });
    $("notice").classList.add("nothing");
  } else $("notice").hidden = true;
  $("grid").replaceChildren(...answer.hits.map((hit, i) => card(hit, labelled && (same[i] ? "same" : "other"))));
}

function showQuery() {
  const what = query.by === "code" ? query.name || (query.image ? "Your image" : "A code") : `${query.by === "id" ? "Item" : "Sample"} ${query.value}`;
  const label = words(query.label);
  $("query").hidden = false;
  $("query-title").replaceChildren(label || what, ...(label ? [element("small", "", what)] : []));
  const name = label ? `${label} (${what.toLowerCase()})` : what;
  $("preview").hidden = !query.image;
  if (query.image) $("preview").src = query.image;
  $("preview").alt = `The query: ${name}`;
  $("drop").classList.toggle("filled", Boolean(query.image));
  document.title = `${name} · DHIH image search`;
  showBits();
  for (const link of $("samples").querySelectorAll("a")) {
    if (link.search === location.search) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function showSummary(labelled, same) {
  const { hits, took_ms } = answer;
  $("summary").hidden = false;
  $("results-title").textContent = hits.length === 0 ? "No neighbours" : hits.length === 1 ? "Nearest neighbour" : `${number.format(hits.length)} nearest neighbours`;
  const encode = took_ms.encode || query.encode;
  const parts = [`${encode ? `Encoded in ${ms(encode)} ms, searched` : "Searched"} ${plural(info.items, "code")} in ${ms(took_ms.search)} ms.`];
  if (labelled && hits.length) parts.push(" ", element("span", "same", `${same.filter(Boolean).length} of ${number.format(hits.length)} share its label.`));
  $("status").replaceChildren(...parts);
  showHistogram(hits, same, labelled);
}

function showHistogram(hits, same, labelled) {
  $("histogram").hidden = hits.length < 2;
  if (hits.length < 2) return;
  const last = Math.max(hits[hits.length - 1].distance, Math.min(15, info.bits));
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
  const drawn = svg(`0 0 ${bins.length} 40`, `Histogram: distances from ${hits[0].distance} to ${hits[hits.length - 1].distance}, at most ${plural(most, "image")} at one`, ...bars);
  drawn.setAttribute("preserveAspectRatio", "none");
  $("histogram").className = labelled ? "" : "unlabelled";
  $("histogram").replaceChildren(drawn, element("figcaption", "", element("span", "", "0"), element("span", "", "distance in bits"), element("span", "", String(last))));
}

function card(hit, match) {
  const bits = differing(hit.code, answer.code, info.bits);
  const label = words(hit.label);
  const title = bits.length ? `${plural(bits.length, "bit")} of ${info.bits} ${bits.length === 1 ? "differs" : "differ"}: ${bits.join(", ")}` : "The same code";
  const strip = svg(`0 0 ${info.bits} 1`, "", shape("path", { d: bits.map((k) => `M${k} 0h1v1h-1z`).join("") }));
  strip.setAttribute("class", "differs");
  strip.setAttribute("preserveAspectRatio", "none");
  strip.setAttribute("shape-rendering", "crispEdges");
  const frame = element("span", "picture", picture(hit.image_url, "", true), element("span", "badge", String(hit.distance)));
  const caption = element("span", "caption");
  if (match) caption.append(element("span", "mark"));
  if (label) caption.append(element("b", "", label));
  caption.append(element("small", "", `#${idOf(hit)}`));
  const link = element("a", `card ${match || ""}`, frame, strip, caption);
  link.href = `?id=${idOf(hit)}`;
  link.title = title;
  link.setAttribute("aria-label", `Item ${idOf(hit)}${label ? `, ${label}` : ""}, distance ${hit.distance}${match === "same" ? ", same label" : ""}. Search by it`);
  for (const event of ["pointerenter", "focus"]) link.addEventListener(event, () => mark(bits));
  for (const event of ["pointerleave", "blur"]) link.addEventListener(event, () => mark([]));
  return element("li", "", link);
}

function waiting() {
  if ($("grid").childElementCount) {
    $("grid").classList.add("stale");
    return;
  }
  $("notice").hidden = true;
  $("grid").replaceChildren(...Array.from({ length: Math.min(20, NEIGHBOURS[$("k").value]) }, () => element("li", "skeleton")));
}

function notice(title, text, action, act) {
  $("notice").hidden = false;
  $("notice").className = "notice";
  $("notice").removeAttribute("role");
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice-action").hidden = !action;
  $("notice-action").textContent = action ?? "";
  $("notice-action").onclick = act ?? null;
}

function clear() {
  answer = null;
  for (const id of ["summary", "query", "preview"]) $(id).hidden = true;
  $("drop").classList.remove("filled");
  $("grid").replaceChildren();
  for (const link of $("samples").querySelectorAll("a")) link.removeAttribute("aria-current");
  document.title = "DHIH image search";
}

function welcome() {
  clear();
  notice("Find images that look alike", `Click one of the images above, drop one of your own, or paste one. The network turns it into ${info.bits} bits, and the index finds the codes that differ in the fewest.`);
}

function fail(error) {
  clear();
  const again = error.again && query;
  const act = again ? search : () => $("file").click();
  notice(error.title ?? "The page failed", error.title ? error.message : `Reload it. (${error.message})`, again ? "Try again" : "Choose another image", act);
  $("notice").classList.add("failed");
  $("notice").setAttribute("role", "alert");
}

// ---- Setting up

function settings() {
  $("k-value").textContent = number.format(NEIGHBOURS[$("k").value]);
  const radius = Number($("radius").value);
  $("radius-value").textContent = radius < info.bits ? plural(radius, "bit") : "any";
}

async function loadSamples() {
  const { total, samples } = await call(`/v1/samples?count=24&start=${firstSample}`);
  $("more").hidden = total <= samples.length;
  document.querySelector(".samples").hidden = total === 0;
  $("samples").replaceChildren(...samples.map((sample) => {
    const name = words(sample.label);
    const link = element("a", "", picture(sample.image_url, name));
    link.href = `?sample=${sample.index}`;
    link.title = name ? `${name} (sample ${sample.index})` : `Sample ${sample.index}`;
    link.setAttribute("aria-label", `Search by sample ${sample.index}${name ? `, ${name}` : ""}`);
    if (link.search === location.search) link.setAttribute("aria-current", "true");
    return element("li", "", link);
  }));
}

async function loadInfo() {
  info = await call("/v1/info");
  const facts = [["images", number.format(info.items)], ["bits", info.bits], ["classes", info.classes.length], ["data set", info.dataset && info.dataset + (info.verified === false ? " (unverified)" : "")], ["mAP", info.map?.toFixed(3)]];
  $("facts").replaceChildren(...facts.filter(([, value]) => value).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", String(value)))));
  $("k").max = NEIGHBOURS.length - 1;
  $("k").value = NEIGHBOURS.indexOf(20);
  $("radius").max = info.bits;
  $("radius").value = info.bits;
  settings();
}

function listen() {
  $("preview").addEventListener("load", () => sharpen($("preview")));
  for (const id of ["k", "radius"]) {
    $(id).addEventListener("input", () => {
      settings();
      search();
    });
  }
  for (const id of ["drop", "pick"]) $(id).addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    upload($("file").files[0]);
    $("file").value = "";
  });
  $("more").addEventListener("click", () => {
    firstSample += 24;
    loadSamples().catch(fail);
  });
  // Links of this page search without loading it anew; with a modifier they open as links do.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.card, .samples a, #home");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    go(fromAddress(), false);
    if (link.matches(".card")) window.scrollTo({ top: 0 });
  });
  addEventListener("popstate", () => go(fromAddress(), false));
  addEventListener("paste", (event) => upload([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
  let depth = 0;
  const dragging = (by) => document.body.classList.toggle("dragging", (depth = Math.max(0, depth + by)) > 0);
  addEventListener("dragenter", (event) => event.dataTransfer?.types.includes("Files") && dragging(1));
  addEventListener("dragleave", (event) => event.dataTransfer?.types.includes("Files") && dragging(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(-depth);
    upload(event.dataTransfer.files[0]);
  });
}

async function start() {
  try {
    await loadInfo();
    listen();
    await loadSamples();
    go(fromAddress(), false);
  } catch (error) {
    fail(error);
    if (!info) notice(error.title ?? "The page failed", error.message, "Try again", () => location.reload());
  }
}

start();
