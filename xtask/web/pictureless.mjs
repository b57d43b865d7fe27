// Checks of a service that takes no pictures: an index with a codec that keeps vectors, or an index alone. Codes are drawn in place of pictures.
import assert from "node:assert/strict";

import { open as opened, shut } from "./changes.mjs";

/** Loads an address of the page, which has no samples. */
async function open(page, address = "/") {
  await page.tab.goto(page.base + address);
  await page.$("#ask").waitFor();
}

async function ask(page, text) {
  await page.$("#ask-text").fill(text);
  await page.$("#ask-text").press("Enter");
}

const status = (page) => page.$("#status").textContent();

export const pictureless = [
  ["what is no picture is asked for, and nothing else is offered", async (page) => {
    await open(page);
    await page.notice("alike");
    assert.equal(await page.$("#drop").isVisible(), false);
    assert.equal(await page.$(".samples").isVisible(), false);
    assert.equal(await page.$("#tagline").textContent(), "Search by binary codes");
    await page.shot("welcome");
    await ask(page, "no code");
    assert.match(await page.$("#ask-problem").textContent(), /^This is none of these: /);
    await page.give("drop", { bytes: Buffer.from("GIF89a"), type: "image/gif", name: "a.gif" });
    await page.notice("alike");
  }],
  ["an item and its code find the same, drawn as codes", async (page) => {
    const item = await page.json("/v1/items/7");
    await open(page);
    await ask(page, item.code);
    const byCode = await page.results();
    assert.equal(page.address, `/?code=${item.code}`);
    assert.deepEqual(byCode.map((hit) => hit.distance), byCode.map((hit) => hit.distance).sort((a, b) => a - b));
    assert.equal(await page.$(".card img").count(), 0, "there are no pictures");
    assert.equal(await page.$(".card .picture svg").count(), byCode.length);
    await page.shot("by-code");
    await ask(page, "#7");
    const byId = await page.results();
    assert.equal(page.address, "/?id=7");
    assert.equal(byId.filter((hit) => hit.distance === 0).length, byCode.filter((hit) => hit.distance === 0).length);
    await page.during([/status of 404/], async () => {
      await ask(page, "99999999");
      await page.failure("There is no such item here");
      await page.$("#notice button").click();
      assert.equal(await page.tab.evaluate(() => document.activeElement.id), "ask-text");
    });
    await page.requireNoSidewaysScroll();
  }],
  ["a link to a text is refused, and leads to what can be asked", async (page) => {
    await page.during([/status of 422/], async () => {
      await open(page, "/?text=a%20red%20car");
      await page.failure("This service takes no texts");
    });
    assert.equal(await page.$("#words").isVisible(), false);
    await page.$("#notice button").click();
    assert.equal(await page.tab.evaluate(() => document.activeElement.id), "ask-text");
  }],
  ["vectors are rescored where they are kept, which can be switched off", async (page) => {
    const { codec, index } = await page.json("/v1/info");
    if (!codec || !index.vectors) return;
    await open(page);
    const vector = Array.from({ length: codec.dims }, (_, i) => Math.sin(i * 1.3));
    await ask(page, JSON.stringify(vector));
    await page.results();
    assert.match(await status(page), /Ordered by cosine: the candidates are exactly the nearest by code/);
    const cosines = (await page.$(".cosine").allTextContents()).map(Number);
    assert.deepEqual(cosines, [...cosines].sort((a, b) => b - a));
    await page.shot("by-vector");
    await page.$("#cosine").uncheck();
    await page.until(() => !document.querySelector(".cosine") && document.querySelector(".card"), "hits without cosines");
    assert.doesNotMatch(await status(page), /cosine/);
    await page.during([/status of 422/], async () => {
      await ask(page, "[1, 2]");
      await page.failure("This vector cannot be used");
    });
  }],
  ["what was asked for is added, found, and deleted again", async (page) => {
    const { codec, bits, items, index } = await page.json("/v1/info");
    const by = index.vectors ? JSON.stringify(Array.from({ length: codec.dims }, (_, i) => Math.cos(i * 0.7))) : "0f".repeat(bits / 8);
    await open(page);
    await ask(page, by);
    await page.results();
    await page.$("#add").click();
    await opened(page, "add-dialog");
    await page.shot("add");
    await page.$("#add-dialog [type=submit]").click();
    await shut(page);
    await page.until(() => /^Added as item \d+\.$/.test(document.querySelector("#said").textContent), "the new item");
    const id = new URL(page.tab.url()).searchParams.get("id");
    assert.equal((await page.json("/v1/info")).items, items + 1);
    await page.until((wanted) => document.querySelector(`.card[href*="id=${wanted}"] .badge`)?.textContent === "0", "itself at distance 0", id);
    await page.$("#delete").click();
    await opened(page, "delete-dialog");
    await page.$("#delete-dialog [type=submit]").click();
    await page.notice("alike");
    assert.equal((await page.json("/v1/info")).items, items);
  }],
];
