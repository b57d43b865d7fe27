"""Lists of hashes: against the definition, and against faiss where it is installed."""

import gc
import importlib.util
import io
import pickle
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
        for kwargs in ({"bits": 12}, {"bits": 0}, {"threshold": -1}, {"threshold": 257}):
            with self.assertRaises(dhih.DhihError):
                dhih.HashIndex(**kwargs)

    def test_a_file_that_is_cut_off_or_of_another_kind_is_refused(self):
        file = io.BytesIO()
        dhih.HashIndex([("0" * 64, 1)]).serialize(file)
        whole = file.getvalue()
        for data in (b"", b"rubbish", whole[:16], whole[:80], whole[:-2]):
            with self.assertRaises(dhih.DhihError):
                dhih.HashIndex.deserialize(io.BytesIO(data))


if __name__ == "__main__":
    unittest.main()
