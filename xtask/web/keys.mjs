// Checks of a service that asks for keys: they are given once for a session, of which scripts see nothing.
import assert from "node:assert/strict";

import { open, shut } from "./changes.mjs";

const WRONG = "wrong-key-0123456789";

/** Waits until the first sample is seen, which a browser fetches with the cookie alone. */
const sampleIsSeen = (page) => page.until(() => document.querySelector("#samples img")?.naturalWidth > 0, "the picture of a sample");

async function give(page, key) {
  await page.$("#key").fill(key);
  await page.tab.keyboard.press("Enter");
}

export const keys = ({ read, admin }) => [
  ["a key is asked for, and one that is wrong is refused with a reason", async (page) => {
    await page.during([/status of 401/], async () => {
      await page.tab.goto(`${page.base}/`);
      await open(page, "key-dialog");
      assert.equal(await page.tab.evaluate(() => document.activeElement.id), "key");
      await page.shot("key");
      await page.tab.keyboard.press("Escape");
      await page.failure("A key is needed");
      await page.$("#notice button").click();
      await open(page, "key-dialog");
      await give(page, WRONG);
      await page.until(() => document.querySelector("#key-dialog .problem").textContent.includes("does not open this service"), "a reason");
      await page.shot("wrong-key");
    });
  }],
  ["a right key begins a session, and pictures load with its cookie, which no script can read", async (page) => {
    await give(page, read);
    await shut(page);
    await sampleIsSeen(page);
    assert.equal(await page.tab.evaluate(() => document.cookie), "");
    const [cookie, ...others] = await page.tab.context().cookies();
    assert.deepEqual(others, []);
    assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite, cookie.expires], ["dhih-session", true, "Strict", -1]);
    assert.ok(!cookie.value.includes(read), "the key itself is not kept");
    await page.open();
    await sampleIsSeen(page);
    assert.equal(await page.$("#sign-out").getAttribute("title"), "The key read (read) is in use");
    await page.shot("session");
  }],
  ["a change asks for a key that may make it, and is made with it", async (page) => {
    const url = await page.$("#samples img").first().getAttribute("src");
    const picture = await fetch(new URL(url, page.base), { headers: { "x-api-key": read } });
    await page.give("drop", { bytes: Buffer.from(await picture.arrayBuffer()), type: "image/png", name: "sample.png" });
    await page.results();
    await page.$("#add").click();
    await open(page, "add-dialog");
    await page.during([/status of 403/], async () => {
      await page.$("#add-dialog [type=submit]").click();
      await open(page, "key-dialog");
      assert.match(await page.$("#key-text").textContent(), /may not do this/);
      await page.shot("forbidden");
      await give(page, admin);
      await shut(page);
    });
    await page.until(() => /^Added as item \d+\.$/.test(document.querySelector("#said").textContent), "the new item");
    assert.equal(await page.$("#sign-out").getAttribute("title"), "The key admin (admin) is in use");
    await page.until(() => document.querySelector("#preview").naturalWidth > 0, "its picture");
    await page.$("#delete").click();
    await page.$("#delete-dialog [type=submit]").click();
    await page.notice("Find images that look alike");
  }],
  ["whoever signs out has no session any more", async (page) => {
    await page.during([/status of 401/], async () => {
      await page.$("#sign-out").click();
      await open(page, "key-dialog");
    });
    assert.deepEqual(await page.tab.context().cookies(), []);
  }],
];
