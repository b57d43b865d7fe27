// Checks of the field for texts, of a service whose run has a text tower. Its weights are not trained: what a text finds means nothing, but it
// is always the same.
import assert from "node:assert/strict";

const field = (page) => page.$("#words-text").inputValue();

/** Types a text and sends it. */
async function say(page, text) {
  await page.$("#words-text").fill(text);
  await page.$("#words-text").press("Enter");
}

/** The hits once the page shows those of this text. */
async function shown(page, text) {
  await page.until((title) => document.title.startsWith(title), `the title of ${text}`, `“${text}”`);
  return page.results();
}

/** What the service finds for a text. */
async function found(page, text) {
  const body = JSON.stringify({ text });
  const { hits } = await page.json("/v1/search?k=20", { method: "POST", headers: { "content-type": "application/json" }, body });
  return hits.map(({ id, distance }) => ({ id: String(id), distance }));
}

const plain = (hits) => hits.map(({ id, distance }) => ({ id, distance }));

export const texts = [
  ["a text finds what the service finds for it, and has an address", async (page) => {
    await page.open();
    assert.ok(await page.$("#words").isVisible());
    assert.match(await page.$("#notice-text").textContent(), /say in a few words what it shows/);
    await say(page, " a red car ");
    const hits = await shown(page, "a red car");
    assert.equal(hits.length, 20);
    assert.deepEqual(plain(hits), await found(page, "a red car"));
    assert.equal(page.address, "/?text=a+red+car");
    assert.equal(await page.$("#query-title").textContent(), "“a red car”");
    assert.match(await page.$("#status").textContent(), /Encoded in .* ms, searched/);
    assert.equal(await page.$("#preview").isVisible(), false, "a text has no picture");
    assert.equal(await page.$("#add").isVisible(), false, "a text is no item");
    await page.shot("text");
  }],
  ["signs, other scripts and markup are searched as they are, by a link, too", async (page) => {
    for (const text of ["cats & dogs + 50 % #1?", "Käse, 猫 and 🚗", "<b>bold</b> “quoted”"]) {
      await say(page, text);
      const hits = await shown(page, text);
      assert.deepEqual(plain(hits), await found(page, text), text);
      assert.equal(await page.$("#query-title b").count(), 0, "markup is text");
      await page.open(page.address);
      assert.deepEqual(await shown(page, text), hits, text);
      assert.equal(await field(page), text);
    }
  }],
  ["back and forward go between texts and items, and the field follows", async (page) => {
    await page.open();
    await say(page, "a dog");
    const dogs = await shown(page, "a dog");
    await say(page, "a cat");
    await shown(page, "a cat");
    await page.$(".card").first().click();
    await page.until(() => /item \d+/i.test(document.title), "an item");
    await page.results();
    assert.equal(await field(page), "");
    await page.tab.goBack();
    await shown(page, "a cat");
    assert.equal(await field(page), "a cat");
    await page.tab.goBack();
    assert.deepEqual(await shown(page, "a dog"), dogs);
    await page.$("#pick").click();
    assert.equal(await page.tab.evaluate(() => document.activeElement.id), "words-text", "a text is changed in its field");
    await page.tab.goBack();
    await page.notice("Find images that look alike");
    assert.equal(await field(page), "");
  }],
  ["an empty text is not sent, and one that is too long is refused", async (page) => {
    await page.open();
    await say(page, "   ");
    assert.match(await page.$("#words-problem").textContent(), /^Say in a few words/);
    assert.equal(page.address, "/");
    await say(page, "a");
    await shown(page, "a");
    assert.equal(await page.$("#words-problem").textContent(), "");
    await page.during([/status of 422/], async () => {
      await page.open(`/?text=${"a".repeat(5000)}`);
      await page.failure("This text cannot be used");
    });
    assert.match(await page.$("#notice-text").textContent(), /at most 4096/);
    await page.$("#notice button").click();
    assert.equal(await page.tab.evaluate(() => document.activeElement.id), "words-text");
  }],
  ["the label filter holds for texts", async (page) => {
    const { classes } = await page.json("/v1/info");
    await page.open(`/?text=a+dog&label=${encodeURIComponent(classes[1])}`);
    const hits = await shown(page, "a dog");
    assert.ok(hits.length > 0 && hits.every(({ label }) => label === classes[1]), JSON.stringify(hits));
    await say(page, "a cat");
    const others = await shown(page, "a cat");
    assert.ok(others.every(({ label }) => label === classes[1]), "the filter stays");
    assert.equal(new URL(page.tab.url()).searchParams.get("label"), classes[1]);
  }],
  ["an image takes the place of a text, and a text that of an image", async (page) => {
    await page.open();
    await say(page, "a dog");
    await shown(page, "a dog");
    await page.give("drop", await page.sample(1));
    await page.until(() => location.search.startsWith("?code="), "the code of the image");
    await page.results();
    assert.equal(await field(page), "");
    assert.ok(await page.$("#preview").isVisible());
    await say(page, "a dog");
    await shown(page, "a dog");
    assert.equal(await page.$("#preview").isVisible(), false);
  }],
  ["a long text on a phone does not make the page scroll sideways", async (page) => {
    await page.tab.setViewportSize({ width: 360, height: 740 });
    const text = "a".repeat(300);
    await page.open(`/?text=${text}`);
    await shown(page, text);
    await page.requireNoSidewaysScroll();
    await page.shot("phone-text");
    await page.tab.setViewportSize({ width: 1280, height: 900 });
  }],
];
