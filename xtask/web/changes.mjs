// Checks of what changes the index. Where keys are asked for: keys.mjs.
import assert from "node:assert/strict";

let added = null; // id of the item that the first check adds and the last deletes

export const open = (page, dialog) => page.until((id) => document.getElementById(id).open, `the dialog ${dialog}`, dialog);
export const shut = (page) => page.until(() => !document.querySelector("dialog[open]"), "no dialog");

export const edit = [
  ["a dialog that is opened again at once is not ended by the one before", async (page) => {
    await page.open();
    await page.give("drop", await page.sample(1));
    await page.results();
    await page.$("#add").click();
    await open(page, "add-dialog");
    // The event of the closing comes only after this.
    await page.tab.evaluate(() => {
      document.getElementById("add-dialog").close();
      document.getElementById("add").click();
    });
    await page.tab.waitForTimeout(100);
    await page.$("#add-dialog [type=submit]").click();
    await shut(page);
    await page.until(() => /^Added as item \d+\.$/.test(document.querySelector("#said").textContent), "the new item");
    const id = new URL(page.tab.url()).searchParams.get("id");
    // The page asks for the item and its picture, which would be gone.
    await page.results();
    await page.settled();
    const gone = await fetch(`${page.base}/v1/items/${id}`, { method: "DELETE" });
    assert.equal(gone.status, 204);
  }],
  ["an uploaded image is added with a label, and found at distance 0", async (page) => {
    await page.open();
    const before = (await page.json("/v1/info")).items;
    const file = await page.sample(2);
    await page.give("drop", file);
    await page.results();
    await page.$("#add").click();
    await open(page, "add-dialog");
    const { classes } = await page.json("/v1/info");
    await page.$("#add-dialog").getByText(classes[3], { exact: true }).click();
    await page.shot("add");
    await page.tab.keyboard.press("Escape");
    await shut(page);
    assert.equal(await page.tab.evaluate(() => document.activeElement.id), "add", "the keyboard is back where it was");
    assert.equal((await page.json("/v1/info")).items, before, "nothing is added yet");
    await page.tab.keyboard.press("Enter");
    await open(page, "add-dialog");
    assert.equal(await page.$("#add-dialog :checked").getAttribute("value"), "", "no label is chosen");
    await page.$("#add-dialog").getByText(classes[3], { exact: true }).click();
    await page.tab.keyboard.press("Enter");
    await shut(page);
    await page.until(() => /^Added as item \d+\.$/.test(document.querySelector("#said").textContent), "the new item");
    added = new URL(page.tab.url()).searchParams.get("id");
    await page.until((label) => document.querySelector("#query-title").textContent.includes(label), "its label", classes[3]);
    assert.equal((await page.json("/v1/info")).items, before + 1);
    await page.until((n) => document.querySelector("#facts").textContent.includes(n), "one image more", (before + 1).toLocaleString("en"));
    await page.shot("added");
    // More than a screen of images may have its code.
    await page.slide("#radius", 0);
    await page.slide("#k", 11);
    await page.until((id) => document.querySelector(`.card[href*="id=${id}"] .badge`)?.textContent === "0", "itself at distance 0", added);
  }],
  ["metadata is shown with its item, and searches are narrowed by it", async (page) => {
    const put = async (path, body) => {
      const options = { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
      const answer = await page.json(path, options);
      assert.equal(answer.error, undefined, JSON.stringify(answer));
    };
    await page.open();
    assert.equal(await page.$("#fields").isVisible(), false, "no field is declared");
    await put("/v1/fields", { fields: { camera: "keyword", taken: "number", public: "bool" } });
    const kept = { 0: { camera: "north", taken: 10, public: true }, 1: { camera: "south", taken: 20, public: false }, 2: { camera: "north", taken: 30, note: "fog" } };
    for (const [id, metadata] of Object.entries(kept)) await put(`/v1/items/${id}/metadata`, metadata);
    const shown = async (...ids) => {
      const wanted = ids.join();
      await page.until((all) => [...document.querySelectorAll(".card")].map((card) => new URL(card.href).searchParams.get("id")).toSorted().join() === all && !document.querySelector(".stale"), `the items ${wanted}`, wanted);
    };
    await page.open("/?id=2");
    await page.results();
    assert.match(await page.$("#metadata").textContent(), /camera.*north.*note.*fog/);
    await page.$("#fields").getByText("north", { exact: true }).click();
    await shown("0", "2");
    assert.match(await page.$("#status").textContent(), /with camera north in/);
    assert.equal(new URL(page.tab.url()).searchParams.get("where"), '{"camera":["north"]}');
    await page.shot("metadata");
    await page.$("#fields").getByText("south", { exact: true }).click();
    await shown("0", "1", "2");
    await page.$('[data-field="taken"][data-bound="gte"]').fill("15");
    await page.tab.keyboard.press("Tab");
    await shown("1", "2");
    await page.$("#fields").getByText("false", { exact: true }).click();
    await shown("1");
    await page.tab.goBack();
    await shown("1", "2");
    await page.tab.reload();
    await shown("1", "2");
    assert.equal(await page.$('[data-field="taken"][data-bound="gte"]').inputValue(), "15");
    await page.$('[data-field="taken"][data-bound="gte"]').fill("99");
    await page.tab.keyboard.press("Tab");
    await page.notice("Nothing with camera north or south and taken from 99");
    await page.tab.getByRole("button", { name: "Clear the filter", exact: true }).click();
    assert.ok((await page.results()).length > 3);
    await page.tab.setViewportSize({ width: 360, height: 740 });
    await page.requireNoSidewaysScroll();
    await page.shot("metadata-phone");
    await page.tab.setViewportSize({ width: 1280, height: 900 });
    await put("/v1/fields", { fields: {} });
    for (const id of Object.keys(kept)) await put(`/v1/items/${id}/metadata`, {});
  }],
  ["an item is deleted after a question, and is gone", async (page) => {
    await page.open(`/?id=${added}`);
    await page.results();
    await page.$("#delete").click();
    await open(page, "delete-dialog");
    assert.equal(await page.tab.evaluate(() => document.activeElement.textContent), "Cancel", "nothing is deleted by a hasty Enter");
    await page.shot("delete");
    await page.tab.keyboard.press("Enter");
    await shut(page);
    await page.$("#delete").click();
    await page.$("#delete-dialog [type=submit]").click();
    await page.notice("Find images that look alike");
    assert.equal(await page.$("#said").textContent(), `Item ${added} is deleted.`);
    assert.equal(page.address, "/");
    await page.shot("deleted");
    await page.during([/status of 404/], async () => {
      await page.open(`/?id=${added}`);
      await page.failure("There is no such item here");
    });
  }],
];
