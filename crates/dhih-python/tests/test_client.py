"""The client, against the program `dhih-serve` over an index of codes and over a run."""

import http.server
import json
import os
import pathlib
import subprocess
import threading
import unittest
from unittest import mock

import numpy as np

import dhih
from support import directory, nearest, picture, png, run, some_codes

BITS = 64


class Played:
    """A service whose answers to changes are given: pairs of a status and JSON, or None where it hangs up without an answer."""

    def __init__(self, *answers):
        self.answers, self.changes = list(answers), []
        played = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200, {"limits": {"body_bytes": 1000}})

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                played.changes.append((self.headers["idempotency-key"], body))
                answer = played.answers.pop(0)
                if answer is not None:
                    self.answer(*answer)

            do_PUT = do_POST

            def answer(self, status, body):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"" if body is None else json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self, dhih.Client(f"http://127.0.0.1:{self.server.server_port}")

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Served:
    """The program, over an index without a model or over a run, for as long as the block lasts."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        program = [os.environ["DHIH_SERVE_PROGRAM"], *self.arguments, "--bind", "127.0.0.1:0", "--log-level", "error"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DHIH_")}
        self.process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment)
        return dhih.Client(self.process.stdout.readline().strip())

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Client(unittest.TestCase):
    def setUp(self):
        self.codes = some_codes(3, 500, BITS)
        self.index = directory() / "index"
        dhih.build(self.codes, self.index)

    def hex(self, row):
        return self.codes[row].tobytes().hex()

    def test_collections_and_export(self):
        folder = directory() / "collections"
        dhih.build(self.codes, folder / "default")
        with Served("--collections", str(folder), "--link-template", "https://a.example/{external_id}") as client:
            self.assertEqual([one["name"] for one in client.collections()], ["default"])
            made = client.make_collection("a.b", bits=BITS)
            self.assertEqual((made["items"], made["bits"]), (0, BITS))
            self.assertEqual(client.make_collection("like", like="default")["bits"], BITS)
            with self.assertRaises(dhih.ServiceError) as raised:
                client.make_collection("a.b", bits=BITS)
            self.assertEqual((raised.exception.status, raised.exception.code), (409, "collection_exists"))
            url = client._url
            other = dhih.Client(url, collection="a.b")
            self.assertEqual(repr(other), f"Client({url!r}, collection='a.b')")
            other.add_many([{"code": self.hex(row), "id": row, "external_id": f"x {row}"} for row in range(3)])
            self.assertEqual((other.count(), client.count()), (3, 500))
            hit = other.search(code=self.hex(1), k=1).hits[0]
            self.assertEqual((hit.id, hit.link), (1, "https://a.example/x%201"))
            self.assertIsNone(client.get(0).link)
            lines = folder.parent / "items.ndjson"
            other.export(lines, format="ndjson")
            items = [json.loads(line) for line in lines.read_text().splitlines()]
            self.assertEqual([(item["id"], item["code"]) for item in items], [(row, self.hex(row)) for row in range(3)])
            self.assertEqual(dhih.Client(url, collection="like").add_many(items).added, 3)
            parquet = folder.parent / "items.parquet"
            client.export(parquet)
            dhih.build(dhih.read_codes(parquet), folder.parent / "again")
            self.assertEqual(len(dhih.Index(folder.parent / "again")), 500)
            with self.assertRaises(dhih.ServiceError) as raised:
                client.export(folder.parent / "none", format="csv")
            self.assertEqual((raised.exception.status, (folder.parent / "none").exists()), (400, False))
            client.remove_collection("a.b")
            with self.assertRaises(dhih.ServiceError) as raised:
                other.count()
            self.assertEqual(raised.exception.code, "no_collection")

    def test_searches_filters_and_items(self):
        with Served("--index", str(self.index)) as client:
            self.assertEqual((client.info()["items"], client.count()), (500, 500))
            distances, ids = nearest(self.codes[:1], self.codes, np.arange(500), 10)
            found = client.search(code=self.hex(0), k=10, codes=True)
            self.assertEqual([(hit.distance, hit.id) for hit in found.hits], list(zip(distances[0], ids[0])))
            self.assertEqual((found.code, found.hits[0].code), (self.hex(0), self.hex(int(ids[0][0]))))
            self.assertEqual(client.search(id=0, k=10).hits, client.search(code=self.hex(0), k=10).hits)

            client.declare({"part": "keyword", "row": "number"})
            for row in range(0, 500, 50):
                item = client.set_metadata(row, {"part": "new" if row < 250 else "old", "row": row})
                self.assertEqual((item.id, item.metadata["row"]), (row, row))
            old = {"must": [{"field": "part", "equals": "old"}]}
            among = np.arange(250, 500, 50)
            distances, ids = nearest(self.codes[:1], self.codes[among], among, 3)
            found = client.search(code=self.hex(0), k=3, filter=old, metadata=True)
            self.assertEqual([(hit.distance, hit.id) for hit in found.hits], list(zip(distances[0], ids[0])))
            self.assertTrue(all(hit.metadata["row"] == hit.id and hit.external_id is None for hit in found.hits))
            self.assertEqual([item.id for item in client.items(filter=old, page=2)], list(among))
            self.assertEqual(len(list(client.items())), 500)
            self.assertEqual(client.fields()["part"]["values"], [{"value": "new", "items": 5}, {"value": "old", "items": 5}])
            self.assertEqual((client.delete_where(filter=old), client.count(), client.count(filter=old)), (5, 495, 0))
            client.delete(0)
            left = np.setdiff1d(np.arange(500), [0, *among])
            expected = nearest(self.codes[:1], self.codes[left], left, 7)[1][0]
            self.assertEqual([hit.id for hit in client.search(code=self.hex(0), k=7).hits], list(expected))
            self.assertGreater(client.compact()["bytes_before"], 0)

    def test_many_items_and_what_is_refused(self):
        with Served("--index", str(self.index)) as client:
            items = [{"code": self.hex(row), "external_id": f"x{row}", "metadata": {"row": row}} for row in range(25)]
            items[7] = {"code": "zz"}
            added = client.add_many(items, per_request=10)
            self.assertEqual((added.added, added.replaced, len(added.ids)), (24, 0, 25))
            self.assertEqual([(one.number, one.code) for one in added.refused], [(7, "invalid_code")])
            self.assertEqual((added.ids[7], added.ids[8]), (None, 507))
            self.assertEqual(client.find("x9").metadata, {"row": 9})
            self.assertIsNone(client.find("x7"))
            again = client.add_many(items, upsert=True)
            self.assertEqual((again.added, again.replaced, again.ids), (0, 24, added.ids))
            self.assertEqual(client.add_many([]), ([], 0, 0, []))
            one = client.add(code=self.hex(3), id=9000, external_id="mine & yours", metadata={"a": [1]})
            self.assertEqual((one.id, client.get(9000)), (9000, one))
            self.assertEqual(client.find("mine & yours"), one)
            for refused, code, status in [
                (lambda: client.add(code=self.hex(3), id=9000), "id_taken", 409),
                (lambda: client.get(12345), "not_found", 404),
                (lambda: client.search(id=1, k=5000), "invalid_parameter", 400),
                (lambda: client.search(text="a car"), "no_text_tower", 422),
                (lambda: client.encode(vector=[1.0]), "no_codec", 422),
                (lambda: client.count(filter={"must": [{"field": "b", "equals": 1}]}), "invalid_filter", 400),
                (lambda: client.snapshot(), "no_snapshot_dir", 422),
            ]:
                with self.assertRaises(dhih.ServiceError) as error:
                    refused()
                self.assertEqual((error.exception.code, error.exception.status), (code, status))
                self.assertIsInstance(error.exception, dhih.DhihError)
            for wrong in [{}, {"id": 1, "code": "00"}]:
                with self.assertRaises(ValueError):
                    client.search(**wrong)
            with self.assertRaises(ValueError):
                client.encode(text="a car", vector=[1.0])
        with self.assertRaises(dhih.ServiceError) as error:
            client.count()
        self.assertEqual((error.exception.status, error.exception.code), (0, "no_answer"))
        with self.assertRaises(ValueError):
            dhih.Client("127.0.0.1:7878")

    def test_vectors_are_numbers_of_any_type(self):
        vectors = np.random.default_rng(1).standard_normal((200, 16)).astype(np.float32)
        codec, index = directory() / "codec.safetensors", directory() / "vectors"
        fitted = dhih.Codec.fit(vectors, bits=16)
        fitted.save(codec)
        dhih.build(fitted.encode(vectors), index, vectors="f32")
        with Served("--codec", str(codec), "--index", str(index)) as client:
            code = client.encode(vector=vectors[3].tolist()).code
            for vector in (vectors[3], vectors[3].astype(np.float64), list(vectors[3]), tuple(vectors[3])):
                self.assertEqual(client.encode(vector=vector).code, code)
                self.assertEqual(client.search(vector=vector, k=1, rescore=50).hits[0].id, 3)
            one = client.add(vector=vectors[3], id=np.int64(700), metadata={"score": np.float32(0.5)})
            self.assertEqual((one.id, one.code, one.metadata), (700, code, {"score": 0.5}))
            many = client.add_many({"vector": row, "id": id} for row, id in zip(vectors[:5], np.arange(800, 805)))
            self.assertEqual((many.ids, many.refused), ([800, 801, 802, 803, 804], []))
            self.assertEqual(client.get(803).code, code)
            with self.assertRaisesRegex(TypeError, "cannot be sent as JSON"):
                client.add(vector=vectors[3], metadata={"when": object()})

    def test_many_items_are_cut_to_the_largest_body(self):
        with Served("--index", str(self.index), "--max-body-mib", "1") as client:
            long = "x" * 15_000
            items = [{"code": self.hex(row), "metadata": {"row": row, "long": long}} for row in range(200)]
            self.assertEqual(client.add_many(items).added, 200)
            with self.assertRaises(dhih.ServiceError) as error:
                client.add_many([*items, {"code": self.hex(0), "label": "x" * (1 << 20)}])
            self.assertEqual((error.exception.status, error.exception.code), (413, "body_too_large"))
            self.assertEqual((error.exception.added.added, len(error.exception.added.ids)), (200, 200))
            self.assertEqual(client.count(), 900)

    def test_many_items_are_sent_again_where_no_answer_comes(self):
        made = {"added": 1, "replaced": 0, "ids": [7], "failed": []}
        in_use = {"error": {"code": "idempotency_key_in_use", "message": "it is under way"}}
        items = [{"code": "0" * 600}, {"code": "1" * 600}]
        with mock.patch("dhih.client._PAUSE", 0), Played(None, (409, in_use), (200, made), (200, made)) as (played, client):
            self.assertEqual(client.add_many(items), ([7, 7], 2, 0, []))
            keys, bodies = zip(*played.changes)
            self.assertEqual((len(set(keys[:3])), len(set(bodies[:3]))), (1, 1))
            self.assertNotIn(keys[3], keys[:3])
        with mock.patch("dhih.client._PAUSE", 0), Played((200, made), None, None, None) as (_, client):
            with self.assertRaises(dhih.ServiceError) as error:
                client.add_many(items)
            self.assertEqual((error.exception.code, error.exception.added), ("no_answer", ([7], 1, 0, [])))

    def test_what_takes_long_and_goes_on_is_none(self):
        with Played((202, None), (202, None), (202, {"name": "a", "done": False})) as (_, client):
            self.assertIsNone(client.compact())
            self.assertIsNone(client.make_collection("a", bits=8))
            self.assertFalse(client.snapshot("a")["done"])

    def test_an_answer_says_where_a_store_stopped(self):
        found = {"hits": [], "code": "00", "capped_radius": 4, "exhaustive": True}
        with Played((200, found)) as (_, client):
            self.assertEqual(client.search(code="00"), ([], "00", None, None, 4, True, None))

    def test_pages_explanations_and_local_errors(self):
        with Served("--index", str(self.index)) as client:
            whole = client.search(id=0, k=20)
            self.assertEqual(client.search(id=0, k=10, offset=10).hits, whole.hits[10:])
            self.assertEqual((whole.explanation, whole.capped_radius, whole.exhaustive), (None, None, None))
            self.assertIn("components", client.search(id=0, k=10, explain=True).explanation)
            with self.assertRaises(FileNotFoundError):
                client.export(directory() / "absent" / "items.ndjson", format="ndjson")

    def test_threads_have_connections_of_their_own(self):
        with Served("--index", str(self.index)) as client:
            wrong = []

            def ask(first):
                for row in range(first, 500, 20):
                    if client.search(id=row, k=1, radius=0).hits[0].distance != 0:
                        wrong.append(row)

            threads = [threading.Thread(target=ask, args=(first,)) for first in range(20)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            self.assertEqual(wrong, [])

    def test_pictures(self):
        place = run()
        index = directory() / "pictures"
        dhih.build(dhih.read_codes(place / "codes.safetensors"), index)
        image = png(picture(5, 60, 80))
        path = directory() / 'a "name".png'
        path.write_bytes(image)
        with Served("--run", str(place), "--index", str(index), "--snapshot-dir", str(directory() / "copies")) as client:
            item = client.add_picture(path, external_id="p", metadata={"note": "größer"})
            self.assertEqual((item.external_id, item.metadata), ("p", {"note": "größer"}))
            found = client.search(image=image, k=1, radius=0, filter=None)
            self.assertEqual(found.hits[0].distance, 0)
            self.assertEqual(found.code, item.code)
            made = client.encode(image=path, values=True)
            self.assertEqual((made.code, client.encode(image=image).values), (item.code, None))
            self.assertEqual(dhih.pack(np.array([made.values], np.float32)).tobytes().hex(), item.code)
            self.assertTrue(client.snapshot("first")["done"])
            other = png(picture(6, 60, 80))
            several = client.search(images=[path, other, image], k=5, rerank=True)
            self.assertEqual(len(several.hits), 5)
            self.assertEqual(client.search(images=[image], k=5).code, item.code)
            with self.assertRaises(ValueError):
                client.search(image=image, images=[other])


class Program(unittest.TestCase):
    def test_the_program_is_there(self):
        self.assertTrue(pathlib.Path(os.environ["DHIH_SERVE_PROGRAM"]).is_file())
