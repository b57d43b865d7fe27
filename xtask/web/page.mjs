// The page under test: how its parts are found and waited for, and what it must not do (complain on the console, ask
// another origin).
import assert from "node:assert/strict";
import { join } from "node:path";

const WAIT_MS = 10_000;

export class Page {
  #faults = [];
  #expected = [];
  #shots;
  #shot = 0;

  /** Opens a window at desktop size. */
  static async open(browser, base, shots) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light", locale: "en-US" });
    const tab = await context.newPage();
    tab.setDefaultTimeout(WAIT_MS);
    return new Page(tab, base, shots);
  }

  constructor(tab, base, shots) {
    this.tab = tab;
    this.base = base;
    this.#shots = shots;
    const fault = (text) => this.#expected.some((pattern) => pattern.test(text)) || this.#faults.push(text);
    tab.on("console", (message) => ["error", "warning"].includes(message.type()) && fault(`console: ${message.text()} (${message.location().url})`));
    tab.on("pageerror", (error) => fault(`uncaught: ${error.message}`));
    tab.on("request", (request) => /^(blob|data):/.test(request.url()) || request.url().startsWith(`${base}/`) || fault(`asks elsewhere: ${request.url()}`));
  }

  $(selector) {
    return this.tab.locator(selector);
  }

  /** Loads an address of the page. */
  async open(address = "/") {
    await this.tab.goto(this.base + address);
    await this.$("#samples a").first().waitFor();
  }

  get address() {
    return this.tab.url().slice(this.base.length);
  }

  json(path, options) {
    return fetch(this.base + path, options).then((response) => response.json());
  }

  /** Waits until a search is shown, and gives its hits as `{ id, distance, label }`. */
  async results() {
    await this.tab.waitForFunction(() => document.querySelector("#notice").hidden && document.querySelector(".card") && !document.querySelector(".stale"));
    return this.hits();
  }

  /** Waits until the page has shown all that it asked for: its pictures are there, and for a quarter of a second nothing changes. */
  settled() {
    return this.tab.evaluate(() => new Promise((resolve) => {
      let timer = 0;
      const again = () => {
        clearTimeout(timer);
        timer = setTimeout(look, 250);
      };
      const observer = new MutationObserver(again);
      const look = () => {
        if (![...document.images].every((image) => image.complete)) return again();
        observer.disconnect();
        resolve();
      };
      observer.observe(document.body, { subtree: true, childList: true, attributes: true });
      again();
    }));
  }

  hits() {
    return this.tab.$$eval(".card", (cards) => cards.map((card) => ({
      id: new URL(card.href).searchParams.get("id"),
      distance: Number(card.querySelector(".badge").textContent),
      label: card.querySelector("b")?.textContent ?? "",
    })));
  }

  async notice(title) {
    await this.$("#notice-title", { hasText: title }).waitFor();
    await this.until((text) => document.querySelector("#notice-title").textContent.includes(text), `the notice \`${title}\``, title);
  }

  /** A notice of a failure, read out to who does not see it. */
  async failure(title) {
    await this.notice(title);
    assert.equal(await this.$("#notice").getAttribute("role"), "alert");
    assert.equal(await this.$(".card").count(), 0, "nothing of the last answer stays");
  }

  async until(holds, what, argument) {
    await this.tab.waitForFunction(holds, argument).catch((error) => {
      throw new Error(`waited in vain for ${what}`, { cause: error });
    });
  }

  /** Moves a slider as its arrow keys would, to a value. */
  slide(selector, value) {
    return this.$(selector).evaluate((slider, to) => {
      slider.value = to;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }, String(value));
  }

  /** Drops or pastes a file of these bytes. */
  async give(event, { bytes, type, name }) {
    await this.tab.evaluate(async ({ event, text, type, name }) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
      const options = { bubbles: true, cancelable: true };
      if (event === "paste") dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: data }));
      else for (const step of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(step, { ...options, dataTransfer: data }));
    }, { event, text: bytes.toString("base64"), type, name });
  }

  /** The picture of the n-th sample as a file. */
  async sample(n) {
    const { samples } = await this.json(`/v1/samples?count=${n + 1}`);
    const response = await fetch(new URL(samples[n].image_url, this.base));
    return { bytes: Buffer.from(await response.arrayBuffer()), type: "image/png", name: `sample-${samples[n].index}.png` };
  }

  /** Messages of these kinds are what `act` is about, and no fault. */
  async during(patterns, act) {
    this.#expected = patterns;
    try {
      await act();
    } finally {
      this.#expected = [];
    }
  }

  requireQuiet() {
    assert.deepEqual(this.#faults, [], "the console is quiet, and no other origin is asked");
  }

  heard() {
    return this.#faults.join("\n");
  }

  async requireNoSidewaysScroll() {
    const [width, inner] = await this.tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(width <= inner, `${width} px of page in ${inner} px of window`);
  }

  async shot(name) {
    if (!this.#shots) return;
    this.#shot += 1;
    await this.tab.evaluate(() => Promise.all([...document.images].filter((image) => image.loading !== "lazy" && image.src).map((image) => image.decode().catch(() => null))));
    await this.tab.waitForTimeout(250);
    await this.tab.screenshot({ path: join(this.#shots, `${String(this.#shot).padStart(2, "0")}-${name}.png`) });
  }
}
