// Checks of searching: every way in, the sliders, the filter, the history, failures, and how it looks.
import assert from "node:assert/strict";

const REFUSED = [/the server responded with a status of 4\d\d/];

/** A sample's own results, to start from. */
async function searched(page) {
  await page.open();
  await page.$("#samples a").first().click();
  return page.results();
}

/** A label that no image with this item's code has. */
async function absent(page, id) {
  const { classes } = await page.json("/v1/info");
  for (const label of classes) {
    const { hits } = await page.json(`/v1/search?radius=0&label=${encodeURIComponent(label)}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: `{"id":${id}}`,
    });
    if (hits.length === 0) return label;
  }
  throw new Error(`images of every class have the code of item ${id}: train longer`);
}

export const search = [
  ["the first visit shows what to do, and what is served", async (page) => {
    await page.open();
    await page.notice("Find images that look alike");
    const info = await page.json("/v1/info");
    assert.match(await page.$("#facts").textContent(), new RegExp(info.items.toLocaleString("en")));
    assert.equal(await page.$("#samples a").count(), Math.min(24, info.samples));
    await page.shot("welcome");
  }],
  ["a click on a sample searches by it", async (page) => {
    await page.$("#samples a").nth(1).click();
    const hits = await page.results();
    assert.equal(hits.length, 20);
    assert.match(page.address, /^\/\?sample=\d+$/);
    assert.deepEqual(hits.map((hit) => hit.distance), hits.map((hit) => hit.distance).toSorted((a, b) => a - b));
    assert.equal(await page.$("#samples a[aria-current=true]").count(), 1);
    assert.match(await page.$("#status").textContent(), /Searched .* codes in .* ms/);
    assert.equal(await page.$("#histogram svg").count(), 1);
    await page.shot("sample");
  }],
  ["a dropped, a pasted and a picked image find the same", async (page) => {
    const file = await page.sample(1);
    const expected = await page.hits();
    for (const way of ["drop", "paste", "pick"]) {
      await page.open();
      if (way === "pick") await page.$("#file").setInputFiles({ name: file.name, mimeType: file.type, buffer: file.bytes });
      else await page.give(way, file);
      assert.deepEqual(await page.results(), expected, way);
      assert.match(page.address, /^\/\?code=[0-9a-f]+$/, way);
      assert.match(await page.$("#status").textContent(), /Encoded in/, way);
    }
    assert.equal(await page.$("#query-title").textContent(), file.name);
    await page.shot("upload");
  }],
];

/** Counts the addresses of uploaded images that the browser keeps alive. */
const countAddresses = (page) => page.tab.evaluate(() => {
  const [make, end] = [URL.createObjectURL, URL.revokeObjectURL];
  window.alive = new Set();
  URL.createObjectURL = (file) => [make.call(URL, file)].map((url) => window.alive.add(url) && url)[0];
  URL.revokeObjectURL = (url) => window.alive.delete(url) && end.call(URL, url);
});

export const browse = [
  ["a click on a neighbour goes on from it; back and forward go where they say", async (page) => {
    const [first] = await searched(page);
    const start = page.address;
    await page.$(".card").first().click();
    await page.until((id) => document.title.includes(`item ${id}`) || document.title.includes(`Item ${id}`), "the item", first.id);
    assert.equal(page.address, `/?id=${first.id}`);
    assert.ok((await page.results()).some((hit) => hit.distance === 0), "an item finds itself");
    await page.tab.goBack();
    await page.until(() => document.title.toLowerCase().includes("sample"), "the sample");
    assert.equal(page.address, start);
    await page.tab.goBack();
    await page.notice("Find images that look alike");
    await page.tab.goForward();
    await page.tab.goForward();
    await page.until((id) => document.title.toLowerCase().includes(`item ${id}`), "the item", first.id);
    await page.$("#home").click();
    await page.notice("Find images that look alike");
    assert.equal(page.address, "/");
  }],
  ["uploads that cannot be come back to are let go", async (page) => {
    const file = await page.sample(1);
    await page.open();
    await countAddresses(page);
    const alive = () => page.tab.evaluate(() => window.alive.size);
    for (let i = 0; i < 3; i++) {
      await page.give("drop", file);
      await page.until((name) => document.querySelector("#query-title").textContent === name, "the upload", file.name);
      await page.results();
      await page.$("#home").click();
    }
    assert.equal(await alive(), 1, "the same image is kept once");
    await page.during(REFUSED, async () => {
      await page.give("drop", { bytes: Buffer.from("no picture"), type: "text/plain", name: "notes.txt" });
      await page.failure("This is not an image");
    });
    await page.$("#home").click();
    assert.equal(await alive(), 1, "what is no image is not kept");
    await page.tab.goBack();
    await page.until(() => document.querySelector("#preview").naturalWidth > 0, "the picture of the upload");
  }],
  ["a link to an item opens it", async (page) => {
    const [{ id }] = await searched(page);
    await page.open(`/?id=${id}`);
    await page.results();
    assert.match(await page.tab.title(), new RegExp(`item ${id}\\b`, "i"));
  }],
  ["the sliders change how many and how far at once", async (page) => {
    const many = await searched(page);
    await page.slide("#k", 0);
    await page.until(() => document.querySelectorAll(".card").length === 1, "one neighbour");
    await page.slide("#k", 6);
    await page.until(() => document.querySelectorAll(".card").length === 40, "40 neighbours");
    const middle = many[10].distance;
    await page.slide("#radius", middle);
    await page.until((most) => [...document.querySelectorAll(".badge")].every((badge) => Number(badge.textContent) <= most), "near ones alone", middle);
    assert.equal(await page.$("#radius-value").textContent(), `${middle} bit${middle === 1 ? "" : "s"}`);
    await page.$("#k").focus();
    await page.tab.keyboard.press("ArrowLeft");
    await page.until(() => document.querySelector("#k-value").textContent === "30", "30 by the arrow key");
  }],
  ["the label filter shows those labels alone, and is in the address and the history", async (page) => {
    const all = await searched(page);
    const { classes } = await page.json("/v1/info");
    assert.equal(await page.$("#labels-chips .chip").count(), classes.length);
    const chip = (name) => page.$("#labels-chips").getByRole("button", { name, exact: true });
    const only = (names) => page.until((names) => {
      const labels = [...document.querySelectorAll(".card b")].map((label) => label.textContent);
      return labels.length > 0 && !document.querySelector(".stale") && labels.every((label) => names.includes(label));
    }, `${names} alone`, names);
    const before = page.address;
    await chip(classes[1]).click();
    await only([classes[1]]);
    assert.equal(await chip(classes[1]).getAttribute("aria-pressed"), "true");
    assert.equal(page.address, `${before}&label=${encodeURIComponent(classes[1])}`);
    await chip(classes[0]).click();
    await only(classes.slice(0, 2));
    assert.deepEqual(new URL(page.tab.url()).searchParams.getAll("label"), classes.slice(0, 2));
    await page.shot("filter");
    await page.tab.reload();
    await only(classes.slice(0, 2));
    await page.tab.goBack();
    await only([classes[1]]);
    assert.equal(await chip(classes[0]).getAttribute("aria-pressed"), "false");
    await page.$(".card").first().click();
    assert.match(page.address, /^\/\?id=\d+&label=/, "the filter stays when going on");
    await page.results();
    await page.tab.goBack();
    await page.$("#labels-clear").click();
    await page.until((n) => document.querySelectorAll(".card").length === n && !location.search.includes("label"), "no filter", all.length);
    assert.deepEqual(await page.results(), all);
  }],
  ["nothing under the filter: the notice names it, and offers to clear it", async (page) => {
    const [{ id }] = await searched(page);
    const other = await absent(page, id);
    await page.open(`/?id=${id}&label=${encodeURIComponent(other)}`);
    await page.results();
    await page.slide("#radius", 0);
    await page.notice(`Nothing labelled ${other} that near`);
    await page.shot("nothing");
    await page.tab.getByRole("button", { name: "Clear the filter" }).last().click();
    assert.ok((await page.results()).every((hit) => hit.distance === 0));
  }],
  ["what cannot be searched by is refused with a reason", async (page) => {
    await page.open();
    await page.during(REFUSED, async () => {
      await page.give("drop", { bytes: Buffer.from("no picture"), type: "text/plain", name: "notes.txt" });
      await page.failure("This is not an image");
      await page.shot("not-an-image");
      await page.open("/?id=987654321987");
      await page.failure("There is no such item here");
      await page.open("/?code=xyz");
      await page.failure("This is not a code of these bits");
      await page.open("/?sample=0&label=no%20such%20label");
      await page.failure("There is no such label here");
      await page.tab.getByRole("button", { name: "Clear the filter" }).last().click();
    });
    await page.results();
    const { limits } = await page.json("/v1/info");
    await page.$("#file").setInputFiles({ name: "large.png", mimeType: "image/png", buffer: Buffer.alloc(limits.body_bytes + 1) });
    await page.failure("This image is too large");
    await page.shot("too-large");
  }],
];

export const look = [
  ["dark, where the system is dark", async (page) => {
    await searched(page);
    const paper = () => page.tab.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number));
    const light = await paper();
    await page.tab.emulateMedia({ colorScheme: "dark" });
    const dark = await paper();
    assert.ok(Math.min(...light) > 200 && Math.max(...dark) < 60, `${light} and ${dark}`);
    await page.shot("dark");
    await page.tab.emulateMedia({ colorScheme: "light" });
  }],
  ["on a phone nothing scrolls sideways", async (page) => {
    await page.tab.setViewportSize({ width: 360, height: 740 });
    await page.open();
    await page.requireNoSidewaysScroll();
    await page.shot("phone-welcome");
    await page.$("#samples a").first().click();
    await page.results();
    await page.requireNoSidewaysScroll();
    await page.shot("phone");
    await page.$(".card").first().scrollIntoViewIfNeeded();
    await page.shot("phone-results");
    await page.tab.setViewportSize({ width: 1280, height: 900 });
  }],
  ["the keyboard reaches a neighbour and goes on from it", async (page) => {
    await searched(page);
    // Loaded anew, so that the keyboard starts at the top of the page.
    await page.open(page.address);
    const [{ id }] = await page.results();
    await page.settled();
    const focused = () => page.tab.evaluate(() => document.activeElement.className);
    await page.tab.keyboard.press("Tab");
    assert.equal(await focused(), "skip");
    await page.tab.keyboard.press("Enter");
    await page.until(() => document.activeElement.id === "results", "the results to have the focus");
    for (let i = 0; i < 4 && !(await focused()).includes("card"); i++) await page.tab.keyboard.press("Tab");
    assert.match(await focused(), /card/);
    await page.tab.keyboard.press("Enter");
    await page.until((id) => location.search === `?id=${id}`, "the item", id);
    await page.results();
  }],
];
