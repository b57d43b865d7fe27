// The search page in a real browser, step by step: what is clicked, typed and dropped, and what is seen then.
//
//   node xtask/web/test.mjs URL [--shots DIR] [--modules DIR] [--stop-pid PID] [--read-key KEY --admin-key KEY] [--pictureless] [--collections]
//
// The service at URL must be writable, and take texts. With keys, those that it asks for, only what has to do with keys is checked; with --pictureless, what a service without a model shows; with --collections, what one of several collections shows. DIR of --modules holds node_modules/playwright-core; CHROMIUM is
// the browser, /usr/bin/chromium if not set. With --stop-pid the service is stopped at the end, to see what the page says.
// `cargo xtask test-web` makes all this ready. One line a check; the first that fails ends it.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { edit } from "./changes.mjs";
import { collections } from "./collections.mjs";
import { keys } from "./keys.mjs";
import { Page } from "./page.mjs";
import { pictureless } from "./pictureless.mjs";
import { browse, look, search } from "./searches.mjs";
import { texts } from "./texts.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { shots: { type: "string" }, modules: { type: "string", default: "." }, "stop-pid": { type: "string" }, "read-key": { type: "string" }, "admin-key": { type: "string" }, pictureless: { type: "boolean" }, collections: { type: "boolean" } },
});
if (positionals.length !== 1) {
  console.error("usage: node test.mjs URL [--shots DIR] [--modules DIR] [--stop-pid PID] [--read-key KEY --admin-key KEY] [--pictureless] [--collections]");
  process.exit(2);
}
const { chromium } = createRequire(join(resolve(values.modules), "from.cjs"))("playwright-core");
if (values.shots) mkdirSync(values.shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
let failed = null;
try {
  const page = await Page.open(browser, positionals[0].replace(/\/$/, ""), values.shots);
  for (const [name, check] of checks()) {
    const started = Date.now();
    try {
      await check(page);
      page.requireQuiet();
    } catch (error) {
      failed = error;
      await page.shot("failed");
      console.log(`FAILED  ${name}\n${error.stack}\n${page.heard()}`);
      break;
    }
    console.log(`ok      ${name} (${Date.now() - started} ms)`);
  }
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);

function checks() {
  const given = { read: values["read-key"], admin: values["admin-key"] };
  if (values.collections) return collections;
  if (values.pictureless) return pictureless;
  return given.read ? keys(given) : [...search, ...texts, ...browse, ...look, ...edit, ...stopped()];
}

function stopped() {
  const pid = values["stop-pid"];
  if (!pid) return [];
  return [["a service that stopped is named, and nothing of the last answer stays", async (page) => {
    await page.open();
    process.kill(Number(pid), "SIGTERM");
    const patience = Date.now() + 15_000;
    while (await page.json("/healthz").catch(() => null)) {
      assert.ok(Date.now() < patience, "the service ends when it is told to");
      await new Promise((later) => setTimeout(later, 50));
    }
    await page.during([/net::ERR_(CONNECTION|EMPTY|SOCKET)/], async () => {
      await page.$(".samples a").first().click();
      await page.failure("The service does not answer");
    });
    assert.equal(await page.$("#notice button").textContent(), "Try again");
    await page.shot("stopped");
  }]];
}
