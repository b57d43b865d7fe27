// The TypeScript client in a real browser. The bug: it sent bodies as streams, which browsers refuse over HTTP/1.1, and Node.js does not.
//
//   node xtask/web/client.mjs URL --client DIR [--modules DIR]
//
// The service at URL has the collection `photos`, with a model. DIR of --client holds the compiled client with its node_modules; --modules and CHROMIUM are those of test.mjs.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { client: { type: "string" }, modules: { type: "string", default: "." } } });
assert.ok(positionals.length === 1 && values.client, "usage: node client.mjs URL --client DIR [--modules DIR]");
const base = positionals[0].replace(/\/$/, "");
const { chromium } = createRequire(join(resolve(values.modules), "from.cjs"))("playwright-core");

// The page and the modules have the origin of the service, so that the browser lets them ask it.
const files = {
  "client.js": join(values.client, "dist/src/index.js"),
  "openapi-fetch.js": join(values.client, "node_modules/openapi-fetch/dist/index.mjs"),
};
const page = `<!doctype html><script type="importmap">{"imports":{"openapi-fetch":"/test/openapi-fetch.js"}}</script>`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
try {
  const tab = await browser.newPage();
  await tab.route(`${base}/test/**`, (route) => {
    const name = new URL(route.request().url()).pathname.split("/").pop();
    return name in files ? route.fulfill({ path: files[name], contentType: "text/javascript" }) : route.fulfill({ body: page, contentType: "text/html" });
  });
  await tab.goto(`${base}/test/page`);
  const seen = await tab.evaluate(async (base) => {
    const { Client } = await import("/test/client.js");
    const [whole, name] = [new Client(base), "browser-test"];
    await whole.makeCollection(name, { bits: 64 });
    try {
      const client = new Client(base, { collection: name });
      const one = await client.add({ code: "0000000000000001", metadata: { taken: 1 } });
      const made = await client.addMany([{ code: "0000000000000002" }, { code: "no code" }]);
      const found = await client.search({ code: "0000000000000001" }, { k: 1 });
      const photos = new Client(base, { collection: "photos" });
      const picture = await (await fetch(`${base}/v1/collections/photos/samples/0/image`)).blob();
      const alike = await photos.searchByPicture(picture, { k: 3 });
      return { added: [made.added, made.failures], isFound: found.hits[0].id === one.id, alike: alike.hits.length, count: await client.count() };
    } finally {
      await whole.removeCollection(name);
    }
  }, base);
  assert.deepEqual(seen, { added: [1, 1], isFound: true, alike: 3, count: 2 });
  console.log("ok      the TypeScript client in a browser");
} finally {
  await browser.close();
}
