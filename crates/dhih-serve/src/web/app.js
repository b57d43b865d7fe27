// The search page: starts searches and reacts to their results. results.js displays them.
import { call } from "./api.js";
import { candidates, setUpAsk, setUpWords, showWords } from "./ask.js";
import { setUpCollections } from "./collections.js";
import { $, element, idOf, number, picture, plural, say, sharpen, words } from "./dom.js";
import { filterOf, loadFields, showFields } from "./fields.js";
import { setUpFilter, showFilter } from "./filter.js";
import { add, remove } from "./items.js";
import { showSession, signOut } from "./key.js";
import { Failure, TITLES, urlOf } from "./request.js";
import { clear, notice, show, waiting } from "./results.js";
import { address, can, fromAddress, keepUpload, noun, state } from "./state.js";

const NEIGHBOURS = [1, 3, 5, 10, 20, 30, 40, 50, 100, 200, 500, 1000];
const PAUSE_MS = 60; // a search starts only after a slider has not moved for this time

const SAMPLES = 24; // number of sample images that are shown at the start

let running = null; // AbortController of the search in progress
let pending = 0; // timer of a slider that is moving
let firstSample = 0;

const neighbours = () => NEIGHBOURS[$("k").value];

// ---- Searching

function request(signal) {
  const { info, query, labels, fields } = state;
  const params = new URLSearchParams({ k: neighbours(), codes: true });
  if (Number($("radius").value) < info.bits) params.set("radius", $("radius").value);
  for (const label of labels) params.append("label", label);
  const filter = filterOf(fields);
  if (filter) params.set("filter", filter);
  const rescored = candidates(query, neighbours());
  if (rescored) params.set("rescore", rescored);
  const options = { method: "POST", signal };
  // After an upload, the image is searched by its code. Only rescoring by its vector needs the image itself.
  const upload = query.by === "file" ? query.value : rescored && query.file;
  if (upload) {
    options.body = new FormData();
    options.body.set("image", upload);
  } else {
    // Ids are written as digits, because they may exceed the integers that JavaScript numbers represent exactly.
    options.body = ["code", "text", "vector"].includes(query.by) ? JSON.stringify({ [query.by]: query.value }) : `{"${query.by}":${query.value}}`;
    options.headers = { "content-type": "application/json" };
  }
  return call(`/v1/search?${params}`, options);
}

async function search() {
  stop();
  if (!state.query || !state.info) return;
  const mine = (running = new AbortController());
  const asked = state.query;
  waiting(neighbours());
  try {
    const [found, about] = await Promise.all([request(mine.signal), describe(asked, mine.signal)]);
    if (mine !== running) return;
    Object.assign(asked, about);
    if (asked.by === "file") remember(asked, found);
    state.answer = found;
    show({ clearFilter, anyDistance });
    markSample();
  } catch (error) {
    if (error.name === "AbortError" || mine !== running) return;
    fail(error);
  } finally {
    if (mine === running) $("grid").classList.remove("stale");
  }
}

/** Aborts the search in progress and discards pending ones. */
function stop() {
  clearTimeout(pending);
  running?.abort();
  running = null;
  $("grid").classList.remove("stale");
}

/** Label, source and picture of an item or a sample. */
async function describe(of, signal) {
  if (of.image || !["id", "sample"].includes(of.by)) return {};
  const about = await call(`/v1/${of.by}s/${of.value}`.replace("/ids/", "/items/"), { signal });
  const image = state.info.thumbnails || of.by === "sample" ? about.image_url : null;
  return { label: about.label, image, source: about.source ?? about.external_id, metadata: about.metadata, link: about.link };
}

/** Continues with the code of an uploaded image, so that it is not uploaded again and the search has an address. */
function remember(asked, found) {
  keepUpload(found.code, { image: asked.image, name: asked.name, file: asked.value });
  Object.assign(asked, { by: "code", value: found.code, file: asked.value, encode: found.took_ms.encode });
  history.pushState(null, "", address());
}

function go(next, push = true) {
  stop();
  say("");
  letGo(next);
  state.query = next;
  if (push && !["file", "vector"].includes(next?.by)) history.pushState(null, "", address());
  showFilter();
  showFields();
  showWords(next);
  linkSamples();
  if (next) search();
  else welcome();
}

/** Releases the picture of an upload that has no code. */
function letGo(next) {
  if (state.query?.by === "file" && state.query !== next) URL.revokeObjectURL(state.query.image);
}

function follow() {
  const { query, labels, fields } = fromAddress();
  Object.assign(state, { labels, fields });
  go(query, false);
}

function filterBy(labels) {
  state.labels = labels;
  go(state.query);
}

function filterByFields(fields) {
  state.fields = fields;
  go(state.query);
}

function clearFilter() {
  Object.assign(state, { labels: [], fields: {} });
  go(state.query);
}

function anyDistance() {
  $("radius").value = state.info.bits;
  settings();
  search();
}

function upload(file) {
  if (!file || !can("image") || document.querySelector("dialog[open]")) return;
  const { limits } = state.info;
  if (file.size > limits.body_bytes - 1024) {
    stop();
    letGo(null);
    state.query = null;
    fail(new Failure(TITLES.body_too_large, `${file.name || "It"} has ${number.format(Math.ceil(file.size / 1048576))} MiB; at most ${Math.floor(limits.body_bytes / 1048576)} are taken. Send a smaller one.`));
    return;
  }
  go({ by: "file", value: file, image: URL.createObjectURL(file), name: file.name });
}

// ---- Changing the index

async function addQuery() {
  const item = await add();
  if (!item) return;
  go({ by: "id", value: idOf(item) });
  await changed(`Added as item ${idOf(item)}.`);
}

async function deleteQuery() {
  const id = await remove();
  if (id === null) return;
  // Removes the deleted item from the address, so that the back button does not lead to it.
  state.query = null;
  history.replaceState(null, "", address());
  go(null, false);
  await changed(`Item ${id} is deleted.`);
}

async function changed(text) {
  say(text);
  // The button that had the focus may be gone, so the focus moves to the results.
  $("results").focus({ preventScroll: true });
  await Promise.all([loadInfo(), loadFields(filterByFields)]).catch(fail);
}

// ---- Messages in place of results

function welcome() {
  clear();
  const { bits } = state.info;
  const find = "the index finds the codes that differ in the fewest";
  const words = can("text") ? " Or say in a few words what it shows." : "";
  const ways = (state.info.samples > 0 || state.info.thumbnails ? "Click one of the images above, drop one of your own, or paste one." : "Drop an image, choose one, or paste one.") + words;
  if (can("image")) notice("Find images that look alike", `${ways} The network turns it into ${bits} bits, and ${find}.`);
  else if (can("vector")) notice("Find items that are alike", `Give a vector, a code or the number of an item. The codec turns a vector into ${bits} bits, and ${find}.`);
  else notice("Find codes that are alike", `Give a code of ${bits} bits or the number of an item: ${find}.`);
  markSample();
}

function fail(error) {
  clear();
  markSample();
  notice(error.title ?? "The page failed", error.title ? error.message : `Reload it. (${error.message})`, wayOut(error));
  $("notice").classList.add("failed");
  $("notice").setAttribute("role", "alert");
}

/** The actions that are offered after a failure. */
function wayOut(error) {
  if (!state.info) return [error.code === "unauthorized" ? "Enter a key" : "Try again", () => location.reload()];
  if (["unknown_label", "invalid_filter"].includes(error.code)) return ["Clear the filter", clearFilter];
  if (error.code === "unauthorized" && state.query) return ["Enter a key", search];
  if (error.again && state.query) return ["Try again", search];
  if (state.query?.by === "text" && can("text")) return ["Say it in other words", () => $("words-text").select()];
  if (!can("image")) return ["Look for something else", () => $("ask-text").focus()];
  return ["Choose another image", () => $("file").click()];
}

// ---- Setup

function settings() {
  $("k-value").textContent = number.format(neighbours());
  const radius = Number($("radius").value);
  $("radius-value").textContent = radius < state.info.bits ? plural(radius, "bit") : "any";
}

async function loadSamples() {
  const { total, samples } = await call(`/v1/samples?count=${SAMPLES}&start=${firstSample}`);
  const held = samples.map(({ index, label, image_url }) => starter({ by: "sample", value: String(index), label, image: image_url }));
  if (held.length === 0 && state.info.thumbnails && can("image")) showStarters(someItems(), state.info.items);
  else showStarters(held, total);
}

/** Shows items as samples if there are no held-out queries: ids at equal distances. An id without an item shows nothing. */
function someItems() {
  const title = "Some of the images";
  $("samples-title").textContent = title;
  $("samples").setAttribute("aria-label", title);
  $("samples-hint").textContent = "Click one to search by it.";
  const { items } = state.info;
  const step = Math.max(1, Math.floor(items / SAMPLES));
  const shift = Math.floor(firstSample / SAMPLES) % step;
  return Array.from({ length: Math.min(SAMPLES, items) }, (_, i) => String(i * step + shift)).map((value) => {
    const entry = starter({ by: "id", value, image: urlOf(`/v1/items/${value}/image`) });
    entry.querySelector("img").addEventListener("error", () => {
      entry.remove();
      document.querySelector(".samples").hidden = sampleLinks().length === 0;
    });
    return entry;
  });
}

/** An image that starts a search when it is clicked. */
function starter({ by, value, label, image }) {
  const name = words(label);
  const link = element("a", "", picture(image, name));
  const what = `${by === "id" ? "item" : by} ${value}`;
  Object.assign(link.dataset, { by, value });
  link.title = name ? `${name} (${what})` : what[0].toUpperCase() + what.slice(1);
  link.setAttribute("aria-label", `Search by ${what}${name ? `, ${name}` : ""}`);
  return element("li", "", link);
}

function showStarters(starters, total) {
  $("more").hidden = total <= starters.length;
  document.querySelector(".samples").hidden = starters.length === 0;
  $("samples").replaceChildren(...starters);
  linkSamples();
  markSample();
}

const sampleLinks = () => $("samples").querySelectorAll("a");

/** A click on a sample keeps the filter, and so does a copied link. */
function linkSamples() {
  for (const link of sampleLinks()) link.href = address(link.dataset);
}

function markSample() {
  const { query, answer } = state;
  for (const link of sampleLinks()) {
    if (answer && query.by === link.dataset.by && String(query.value) === link.dataset.value) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

async function loadInfo() {
  const info = (state.info = await call("/v1/info"));
  const facts = [[`${noun()}s`, number.format(info.items)], ["bits", info.bits], ["numbers a vector", info.codec && number.format(info.codec.dims)], ["classes", info.classes.length], ["data set", info.dataset && info.dataset + (info.verified === false ? " (unverified)" : "")], ["mAP", info.map?.toFixed(3)]];
  $("facts").replaceChildren(...facts.filter(([, value]) => value).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", String(value)))));
}

function setUpSliders() {
  $("k").max = NEIGHBOURS.length - 1;
  $("k").value = NEIGHBOURS.indexOf(20);
  $("radius").max = state.info.bits;
  $("radius").value = state.info.bits;
  settings();
  for (const id of ["k", "radius"]) {
    $(id).addEventListener("input", () => {
      settings();
      clearTimeout(pending);
      pending = setTimeout(search, PAUSE_MS);
    });
  }
}

function listen() {
  $("cosine").addEventListener("change", search);
  $("fields-clear").addEventListener("click", () => {
    filterByFields({});
    // The button is gone, so the focus moves to the fields.
    $("fields").querySelector(".chip, input")?.focus();
  });
  $("preview").addEventListener("load", () => sharpen($("preview")));
  $("drop").addEventListener("click", () => $("file").click());
  $("pick").addEventListener("click", () => {
    if (state.query?.by === "text") $("words-text").select();
    else if (can("image")) $("file").click();
    else $("ask-text").select();
  });
  $("file").addEventListener("change", () => {
    upload($("file").files[0]);
    $("file").value = "";
  });
  $("add").addEventListener("click", addQuery);
  $("delete").addEventListener("click", deleteQuery);
  $("sign-out").addEventListener("click", () => signOut().catch(fail));
  $("more").addEventListener("click", () => {
    firstSample += SAMPLES;
    loadSamples().catch(fail);
  });
  // Links to this page search without reloading it. With a modifier key they open like other links.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.card, .samples a, #home");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    follow();
    if (link.matches(".card")) window.scrollTo({ top: 0 });
  });
  // Without a step in the history, which would search again, and lose an upload.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("results").focus();
  });
  addEventListener("popstate", follow);
  addEventListener("paste", (event) => upload([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
  listenToDrops();
}

function listenToDrops() {
  let depth = 0;
  const dragging = (by) => document.body.classList.toggle("dragging", (depth = Math.max(0, depth + by)) > 0);
  addEventListener("dragenter", (event) => can("image") && event.dataTransfer?.types.includes("Files") && dragging(1));
  addEventListener("dragleave", (event) => can("image") && event.dataTransfer?.types.includes("Files") && dragging(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(-depth);
    upload(event.dataTransfer.files[0]);
  });
}

async function start() {
  try {
    showSession(await call("/v1/session"));
    await setUpCollections();
    await loadInfo();
    setUpSliders();
    setUpAsk(go);
    setUpWords(go);
    setUpFilter(filterBy);
    await loadFields(filterByFields);
    listen();
    await loadSamples();
    follow();
  } catch (error) {
    fail(error);
  }
}

start();
