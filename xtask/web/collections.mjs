// Checks of a service of two collections, `hashes` (codes alone) and `photos`, and none that is called `default`.
import assert from "node:assert/strict";

const facts = (page) => page.$("#facts").textContent();
const chosen = (page) => page.tab.evaluate(() => document.querySelector("#collection").selectedOptions[0]?.value ?? null);

export const collections = [
  ["the first collection is shown where none is called default", async (page) => {
    await page.tab.goto(`${page.base}/`);
    await page.notice("Find codes that are alike");
    assert.equal(page.address, "/?collection=hashes");
    assert.equal(await chosen(page), "hashes");
    await page.shot("first");
  }],
  ["another one is chosen, and searched", async (page) => {
    const { items } = await page.json("/v1/collections/photos/info");
    await page.$("#collection").selectOption("photos");
    await page.$("#samples a").first().waitFor();
    assert.equal(page.address, "/?collection=photos");
    assert.ok((await facts(page)).includes(new Intl.NumberFormat("en-US").format(items)));
    await page.$("#samples a").first().click();
    const hits = await page.results();
    assert.ok(hits.length > 0);
    assert.match(page.address, /^\/\?collection=photos&sample=\d+$/);
    await page.shot("photos");
    // A hit leads to a search in the same collection, and the sign back to its beginning.
    await page.$(".card").first().click();
    await page.until(() => new URL(location).searchParams.has("id"), "a search by an item");
    assert.equal(new URL(page.tab.url()).searchParams.get("collection"), "photos");
    await page.results();
    await page.$("#home").click();
    await page.notice("Find images that look alike");
    assert.equal(page.address, "/?collection=photos");
    await page.requireNoSidewaysScroll();
  }],
  ["a link to an item of a collection works", async (page) => {
    await page.tab.goto(`${page.base}/?collection=photos&id=3`);
    const hits = await page.results();
    assert.ok(hits.some(({ id }) => id === "3"));
    const loaded = await page.$(".card img").first().evaluate((image) => image.decode().then(() => image.naturalWidth));
    assert.ok(loaded > 1);
  }],
  ["a collection that is not there says so, and others can be chosen", async (page) => {
    await page.during([/status of 404/], async () => {
      await page.tab.goto(`${page.base}/?collection=none`);
      await page.failure("There is no such collection");
    });
    assert.equal(await chosen(page), null);
    await page.$("#collection").selectOption("hashes");
    await page.notice("Find codes that are alike");
  }],
];
