"""Lists of hashes: against the definition, and against faiss where it is installed."""

import gc
import importlib.util
import io
import pickle
import sys
import threading
import unittest

import dhih
import numpy as np
from support import distances

BYTES = 32


def some_hashes(seed, n):
    """PDQ-like hashes, of which many are copies with a few bits changed."""
    random = np.random.default_rng(seed)
    originals = np.random.default_rng(5).integers(0, 256, (200, BYTES), np.uint8)
    rows = np.unpackbits(originals[random.integers(0, 200, n)], axis=1)
    share = random.random((n, 1)) * 0.3
    return np.packbits(rows ^ (random.random(rows.shape) < share), axis=1)


def texts(hashes):
    return [row.tobytes().hex() for row in hashes]


def found(matches):
    return [(match.similarity_info.distance, match.metadata) for match in matches]


class Matching(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hashes, cls.queries = some_hashes(1, 20_000), some_hashes(2, 1000)
        cls.hashes[7] = cls.hashes[3]
        cls.index = dhih.HashIndex.build((text, row) for row, text in enumerate(texts(cls.hashes)))

    def test_matches_are_all_within_the_threshold(self):
        queries = np.concatenate([self.queries[:60], self.hashes[3:4]])
        many = self.index.query_all(texts(queries))
        self.assertEqual(self.index.query_all([]), [])
        seen = 0
        for matches, query, far in zip(
            many, texts(queries), distances(queries, self.hashes), strict=True
        ):
            expected = sorted((int(far[row]), int(row)) for row in np.flatnonzero(far <= 31))
            self.assertEqual(found(matches), expected)
            self.assertEqual(found(self.index.query(query.upper())), expected)
            seen += len(expected)
        self.assertGreater(seen, 500, "hardly anything matches: no test")
        self.assertEqual(found(many[-1])[:2], [(0, 3), (0, 7)])

    @unittest.skipUnless(importlib.util.find_spec("faiss"), "faiss is not installed")
    def test_matches_are_those_of_faiss(self):
        import faiss

        flat = faiss.IndexBinaryFlat(8 * BYTES)
        flat.add(self.hashes)
        # faiss finds what is nearer than its radius.
        limits, far, rows = flat.range_search(self.queries, 32)
        compared = 0
        for number, matches in enumerate(self.index.query_all(texts(self.queries))):
            part = slice(limits[number], limits[number + 1])
            expected = sorted(zip(far[part].astype(int).tolist(), rows[part].tolist(), strict=True))
            self.assertEqual(found(matches), expected)
            compared += len(expected)
        self.assertEqual(compared, limits[-1])
        self.assertGreater(compared, 5_000)

    def test_what_is_added_one_by_one_or_at_once_is_found(self):
        index = dhih.HashIndex(threshold=0)
        self.assertEqual((index.query("0" * 64), len(index)), ([], 0))
        for row, text in enumerate(texts(self.hashes[:50])):
            index.add(text, {"row": row})
        index.add_all((text, {"row": 50 + row}) for row, text in enumerate(texts(self.hashes[50:90])))
        self.assertEqual(len(index), 90)
        for row in (0, 49, 50, 89):
            matches = index.query(texts(self.hashes[row : row + 1])[0])
            self.assertIn({"row": row}, [match.metadata for match in matches])
        index.add("ab" * 32, {"row": 90})
        self.assertEqual(index.query("AB" * 32)[0].metadata, {"row": 90})

    def test_a_file_has_all_of_it(self):
        file = io.BytesIO()
        self.index.serialize(file)
        file.seek(0)
        again = dhih.HashIndex.deserialize(file)
        self.assertEqual(file.read(), b"", "nothing is left of the file")
        unpickled = pickle.loads(pickle.dumps(self.index))
        for other in (again, unpickled):
            self.assertEqual((len(other), other.threshold, other.bits), (20_000, 31, 256))
            asked = texts(self.queries[:50])
            self.assertEqual(other.query_all(asked), self.index.query_all(asked))
        again.add("00" * 32, "new")
        self.assertEqual(again.query("00" * 32)[0].metadata, "new")
        empty = pickle.loads(pickle.dumps(dhih.HashIndex(bits=64, threshold=5)))
        self.assertEqual((len(empty), empty.bits, empty.query("0" * 16)), (0, 64, []))

    def test_threads_add_and_ask_at_the_same_time(self):
        # Two threads once wrote the same hashes to the index, from where on every match had the entry of another hash.
        hashes = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(3000)]
        index = dhih.HashIndex(((text, text) for text in hashes[:2000]), bits=64, threshold=0)
        index.query(hashes[0])
        wrong, begin = [], threading.Barrier(6)

        def add(part):
            begin.wait()
            for text in part:
                index.add(text, text)

        def ask():
            begin.wait()
            for text in hashes[2000:]:
                wrong.extend(match for match in index.query(text) if match.metadata != text)

        workers = [threading.Thread(target=add, args=(hashes[2000 + start :: 2],)) for start in range(2)]
        workers += [threading.Thread(target=ask) for _ in range(4)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            [worker.start() for worker in workers]
            [worker.join() for worker in workers]
        finally:
            sys.setswitchinterval(interval)
        self.assertEqual(wrong, [])
        for text, matches in zip(hashes, index.query_all(hashes), strict=True):
            self.assertEqual(found(matches), [(0, text)])
        self.assertEqual((len(index), len(index._index)), (3000, 3000))

    def test_its_files_go_with_it(self):
        index = dhih.HashIndex([("0" * 64, 1)])
        index.query("0" * 64)
        place = index._index.path
        self.assertTrue(place.is_dir())
        del index
        gc.collect()
        self.assertFalse(place.exists())

    def test_what_is_no_hash_is_named(self):
        index = dhih.HashIndex()
        for wrong in ("", "0" * 63, "0" * 65, "g" + "0" * 63, "00 " + "0" * 61, " " * 64):
            for call in (lambda: index.add(wrong, 1), lambda: index.query(wrong)):
                with self.assertRaisesRegex(dhih.DhihError, "no hash of 64 hexadecimal digits"):
                    call()
        with self.assertRaisesRegex(dhih.DhihError, "'xy'"):
            index.add_all([("0" * 64, 1), ("xy", 2)])
        self.assertEqual(len(index), 0, "a part that has a fault is not added")
        for kwargs in ({"bits": 12}, {"bits": 0}, {"bits": 8192}, {"threshold": -1}, {"threshold": 257}):
            with self.assertRaises(dhih.DhihError):
                dhih.HashIndex(**kwargs)
        with self.assertRaises(TypeError):
            dhih.HashIndex(threshold=3.5)
        self.assertEqual(len(self.index.query_all(text for text in texts(self.queries[:3]))), 3)

    def test_a_file_that_is_cut_off_or_of_another_kind_is_refused(self):
        file = io.BytesIO()
        dhih.HashIndex([("0" * 64, 1)]).serialize(file)
        whole = file.getvalue()
        for data in (b"", b"rubbish", whole[:16], whole[:80], whole[:-2]):
            with self.assertRaises(dhih.DhihError):
                dhih.HashIndex.deserialize(io.BytesIO(data))
        for before, after in ((b'"bits"', b'"bitz"'), (b'"bits"', b'"bits'), (b"hashes\": 1", b"hashes\": -"), (b"256", b"250")):
            self.assertIn(before, whole)
            with self.assertRaisesRegex(dhih.DhihError, "the file is damaged"):
                dhih.HashIndex.deserialize(io.BytesIO(whole.replace(before, after)))


if __name__ == "__main__":
    unittest.main()
