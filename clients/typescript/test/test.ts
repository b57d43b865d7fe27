// The client against a service that has a folder of collections: node dist/test/test.js URL
import assert from "node:assert/strict";
import { Client, ServiceError } from "../src/index.js";

const [url] = process.argv.slice(2);
assert.ok(url, "usage: node dist/test/test.js URL");
const whole = new Client(url);
const name = "typescript-test";
await whole.makeCollection(name, { bits: 64 });
try {
  const client = new Client(url, { collection: name });
  assert.equal((await client.info()).bits, 64);
  const hex = (i: number) => i.toString(16).padStart(16, "0");
  const one = await client.add({ code: hex(1), external_id: "one", metadata: { taken: 1 } });
  assert.deepEqual([one.code, one.external_id, one.metadata], [hex(1), "one", { taken: 1 }]);
  const made = await client.addMany([2, 3, 4, 5].map((i) => ({ code: hex(i), id: 100 + i })));
  assert.deepEqual([made.added, made.failures, made.ids], [4, 0, [102, 103, 104, 105]]);
  const again = await client.addMany([{ code: hex(9), id: 102 }, { code: hex(9), id: 106 }]);
  assert.deepEqual([again.added, again.failures, again.failed[0]?.error.code], [1, 1, "id_taken"]);
  const found = await client.search({ code: hex(3) }, { k: 2, metadata: true });
  assert.deepEqual(found.hits.map(({ id, distance }) => [id, distance]), [[103, 0], [one.id, 1]]);
  assert.deepEqual(found.hits[1]?.metadata, { taken: 1 });
  const listed: number[] = [];
  for await (const item of client.items({ limit: 2 })) listed.push(item.id);
  assert.deepEqual(listed, [one.id, 102, 103, 104, 105, 106].sort((a, b) => a - b));
  await client.delete(106);
  assert.equal(await client.count(), 5);
  await assert.rejects(client.item(106), (error: unknown) => error instanceof ServiceError && error.status === 404 && error.code === "not_found");
  const collections = await whole.collections();
  assert.equal(collections.find((one) => one.name === name)?.items, 5);
} finally {
  await whole.removeCollection(name);
}
await assert.rejects(new Client(url, { collection: name }).info(), (error: unknown) => error instanceof ServiceError && error.code === "no_collection");
console.log("ok      the TypeScript client");
