"""The examples on a cluster of two workers, with one worker killed in the middle of a job, against the plain commands.

`cargo xtask test-spark` runs it: DHIH_TRAIN_PROGRAM and DHIH_INDEX_PROGRAM name the programs, this Python has pyspark and pyarrow.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))
from cluster import Cluster, wait_for  # noqa: E402

TRAIN, INDEX = os.environ["DHIH_TRAIN_PROGRAM"], os.environ["DHIH_INDEX_PROGRAM"]
PICTURES, TASKS, BITS = 720, 36, 96


def command(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def png(rng):
    """A picture of 32 x 32 pixels with a slope and some noise."""
    slopes, start = [rng.uniform(-6, 6) for _ in range(6)], [rng.uniform(0, 255) for _ in range(3)]
    rows = bytearray()
    for y in range(32):
        rows.append(0)
        for x in range(32):
            for c in range(3):
                value = start[c] + slopes[2 * c] * x + slopes[2 * c + 1] * y + rng.uniform(-20, 20)
                rows.append(min(max(int(value), 0), 255))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")


def rows(path):
    """The rows of a table in no order: engines promise none."""
    return sorted(pq.read_table(path).to_pylist(), key=lambda row: tuple(row.values()))


def distance(a, b):
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).bit_count()


class Jobs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = folder = Path(temporary.name)
        cls.run_folder = folder / "run"
        data = ["--dataset", "demo", "--demo-images", "2000", "--image-side", "32"]
        command(TRAIN, "train", *data, "--epochs", "1", "--bits", BITS, "--run-dir", cls.run_folder)
        cls.photos = folder / "photos"
        cls.photos.mkdir()
        rng = random.Random(7)
        for number in range(PICTURES):
            (cls.photos / f"{number:04}.png").write_bytes(png(rng))
        # Two that are equal to others, and two that are none.
        for number, other in ((100, 7), (700, 8)):
            (cls.photos / f"{number:04}.png").write_bytes((cls.photos / f"{other:04}.png").read_bytes())
        (cls.photos / "0050.png").write_bytes(b"no picture")
        (cls.photos / "0500.png").write_bytes((cls.photos / "0501.png").read_bytes()[:200])

        cls.cluster = Cluster(folder)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.open()
        cls.cluster.run("pictures.py", "--input", cls.photos, "--out", folder / "pictures", "--files", TASKS)
        cls.job = ["--input", folder / "pictures", "--run", cls.run_folder, "--program", TRAIN, "--batch", 8]
        # A task for each file.
        cls.each = {"spark.sql.files.maxPartitionBytes": "64k"}
        cls.cluster.run("encode.py", *cls.job, "--out", folder / "codes", **cls.each)
        cls.codes = rows(folder / "codes")

    def index(self, codes):
        index = self.folder / f"{codes}-index"
        command(INDEX, "build", "--codes", self.folder / codes, "--out", index)
        return index

    def test_codes_are_those_of_the_command(self):
        out = self.folder / "plain.parquet"
        command(TRAIN, "encode", "--run", self.run_folder, "--input", self.photos, "--out", out)
        names = (self.folder / "plain.parquet.files.txt").read_text().splitlines()
        plain = dict(zip((Path(name).name for name in names), pq.read_table(out).to_pylist()))
        got = {Path(row["path"]).name: row for row in self.codes}
        self.assertEqual(len(plain), PICTURES - 2)
        self.assertEqual(plain.keys(), got.keys())
        for name, row in plain.items():
            for column in ("code", "w0", "w1"):
                self.assertEqual(row[column], got[name][column], name)
        self.assertGreater(len({row["code"] for row in self.codes}), PICTURES // 4, "codes are too few to compare")
        errors = {Path(row["path"]).name: row["error"] for row in rows(self.folder / "codes-errors")}
        self.assertEqual(errors.keys(), {"0050.png", "0500.png"})
        self.assertTrue(all(errors.values()))

    def test_codes_of_vectors_are_those_of_the_command(self):
        folder, rng = self.folder / "vectors", random.Random(3)
        folder.mkdir()
        vectors = [[rng.gauss(0, 1) for _ in range(20)] for _ in range(500)]
        column = pa.array(vectors, pa.list_(pa.float32()))
        pq.write_table(pa.table({"vector": column}), folder / "vectors.parquet")
        codec, codes = folder / "codec.safetensors", folder / "codes.parquet"
        vectors = ["--vectors", folder / "vectors.parquet"]
        command(TRAIN, "codec", *vectors, "--bits", 12, "--out", codec)
        command(TRAIN, "encode", "--codec", codec, *vectors, "--out", codes)
        # In several files, with a row that has no vector.
        (folder / "table").mkdir()
        ids = pa.array(range(501), pa.int64())
        column = pa.array([*column.to_pylist(), None], pa.list_(pa.float32()))
        table = pa.table({"id": ids, "vector": column})
        for part in range(3):
            pq.write_table(table.slice(167 * part, 167), folder / f"table/part-{part}.parquet")
        job = ["--input", folder / "table", "--codec", codec, "--program", TRAIN]
        self.cluster.run("encode.py", *job, "--out", folder / "codes")
        self.assertEqual(rows(folder / "codes"), rows(codes))
        (error,) = rows(str(folder / "codes") + "-errors")
        self.assertEqual((error["id"], error["error"]), (500, "there is no vector: it is null"))

    def test_the_index_is_that_of_the_plain_codes(self):
        index = self.index("codes")
        facts = json.loads(command(INDEX, "inspect", "--index", index, "--json"))
        self.assertEqual((facts["codes"], facts["bits"]), (PICTURES - 2, BITS))
        model = json.loads((self.run_folder / "evaluation.json").read_text())["model_sha256"]
        self.assertEqual(facts["model_sha256"], model)

    def test_a_worker_killed_in_the_middle_changes_nothing(self):
        victim = self.cluster.worker("worker-3")
        self.cluster.workers[1].kill()
        wait_for("the master to notice", lambda: b"Removing worker" in self.cluster.processes[0].log.read_bytes())
        earlier = {application for application, _, _ in victim.executors()}
        process, log = self.cluster.start("encode.py", *self.job, "--out", self.folder / "killed", **self.each)

        def busy():
            """An executor of the victim that has finished some tasks of this job and works on another."""
            self.assertIsNone(process.poll(), log.read_text(errors="replace"))
            for application, executor, text in victim.executors():
                finished, begun = text.count("Finished task"), text.count("Running task")
                if application not in earlier and finished >= 4 and begun > finished:
                    return application, executor
            return None

        application, executor = wait_for("the victim to work", busy)
        victim.kill()
        self.assertIsNone(process.poll(), "the job had ended before the worker was killed")
        self.cluster.finish(process, log)
        self.assertEqual(rows(self.folder / "killed"), self.codes)
        self.assertEqual(rows(self.folder / "killed-errors"), rows(self.folder / "codes-errors"))

        # That it was so is in Spark's own record: the executor had done tasks of the job, was lost with one, and others did the rest.
        events = self.cluster.events_of(application)
        kinds = [event["Event"] for event in events]
        lost = [i for i, e in enumerate(events) if e["Event"] == "SparkListenerExecutorRemoved" and e["Executor ID"] == executor]
        self.assertEqual(len(lost), 1)
        self.assertLess(lost[0], max(i for i, kind in enumerate(kinds) if kind == "SparkListenerJobEnd"))
        ends = [(i, e["Task Info"]["Executor ID"], e["Task End Reason"]["Reason"]) for i, e in enumerate(events) if e["Event"] == "SparkListenerTaskEnd"]
        done = [i for i, who, reason in ends if who == executor and reason == "Success"]
        self.assertGreaterEqual(len(done), 2)
        self.assertTrue([reason for _, who, reason in ends if who == executor and reason == "ExecutorLostFailure"])
        after = [who for i, who, reason in ends if i > lost[0] and reason == "Success"]
        self.assertGreaterEqual(len(after), 2)
        self.assertNotIn(executor, after)
        # The next jobs have two workers again.
        self.cluster.workers[1] = self.cluster.worker("worker-4")

    def test_neighbours_are_those_of_a_search(self):
        queries = pa.Table.from_pylist(self.codes[::9])
        pq.write_table(queries, self.folder / "queries.parquet")
        index = self.index("codes")
        found = command(INDEX, "search", "--index", index, "--queries", self.folder / "queries.parquet", "-k", 7, "--json")
        expected = [json.loads(line)["hits"] for line in found.splitlines()]
        # From a radius that is enough for no query to one that is for many.
        for radius in (0, 4, 12):
            out = self.folder / f"nearest-{radius}"
            tables = ["--database", self.folder / "codes", "--queries", self.folder / "queries.parquet"]
            self.cluster.run("knn.py", *tables, "--out", out, "-k", 7, "--radius", radius)
            got = {}
            for row in sorted(rows(out), key=lambda row: (row["query"], row["rank"])):
                got.setdefault(row["query"], []).append({"id": row["id"], "distance": row["distance"]})
            ids = queries.column("id").to_pylist()
            self.assertEqual([got[id] for id in ids], expected, f"radius {radius}")

    def test_near_duplicates_are_all_there_are(self):
        for radius in (0, 3, 10):
            out = self.folder / f"duplicates-{radius}"
            self.cluster.run("deduplicate.py", "--codes", self.folder / "codes", "--out", out, "--radius", radius)
            expected = []
            items = sorted(self.codes, key=lambda row: row["id"])
            for at, item in enumerate(items):
                for earlier in items[:at]:
                    far = distance(item["code"], earlier["code"])
                    if far <= radius:
                        expected.append({"id": item["id"], "duplicate_of": earlier["id"], "distance": far})
                        break
            self.assertEqual(rows(out), expected)
            self.assertGreaterEqual(len(expected), 2)

    def test_a_command_that_fails_is_told(self):
        job = [word if word != self.run_folder else self.folder / "nowhere" for word in self.job]
        process, log = self.cluster.start("encode.py", *job, "--out", self.folder / "none")
        self.assertNotEqual(process.wait(timeout=600), 0)
        self.assertIn("nowhere", log.read_text())


if __name__ == "__main__":
    unittest.main()
