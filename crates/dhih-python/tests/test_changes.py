"""Random histories of an index: after each change every search must give what the definition gives for the items that are left."""

import random
import unittest

import dhih
import numpy as np
from support import NONE, directory

HISTORIES = 60
ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class History:
    """An index, and the items that it should have: rows of ids, codes and labels in the order of the ids."""

    def __init__(self, seed):
        self.random, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.bits = self.random.choice([1, 7, 8, 20, 33, 64, 65, 100, 128, 256, 513])
        self.width = (self.bits + 7) // 8
        self.centres = self.code(self.random.choice([1, 5, 60]))
        self.flips = self.random.choice([0, 1, 3, self.bits // 8])
        count = self.random.choice([0, 1, 2, 50, 300, 1500])
        self.ids = self.numbers.permutation(3 * count + 1)[:count].astype(np.uint64)
        self.codes, self.labels = self.near(count), self.numbers.integers(-1, 4, count)
        self.path = directory() / "index"
        most = min(self.bits, 12)
        substrings = self.random.choice([None, self.random.randint(1, most)])
        self.index = dhih.build(
            self.codes, self.path, bits=self.bits, ids=self.ids, labels=self.labels, substrings=substrings
        )
        self.sort()

    def code(self, count):
        signs = self.numbers.integers(0, 2, (count, self.bits), dtype=np.uint8)
        return np.packbits(signs, axis=1, bitorder="little")

    def near(self, count):
        """Codes a few bits from some centres, so that many are equal and many distances tie."""
        signs = np.unpackbits(self.centres, axis=1, bitorder="little")[:, : self.bits]
        signs = signs[self.numbers.integers(0, len(signs), count)]
        for _ in range(self.flips):
            signs[np.arange(count), self.numbers.integers(0, self.bits, count)] ^= 1
        return np.packbits(signs, axis=1, bitorder="little").reshape(count, self.width)

    def sort(self):
        order = np.argsort(self.ids)
        self.ids, self.codes, self.labels = self.ids[order], self.codes[order], self.labels[order]

    def drop(self, ids):
        kept = ~np.isin(self.ids, ids)
        self.ids, self.codes, self.labels = self.ids[kept], self.codes[kept], self.labels[kept]

    def change(self):
        count = self.random.choice([0, 1, 3, 200])
        match self.random.choice(["add", "number", "upsert", "upsert", "remove", "compact", "open", "move"]):
            case "remove":
                gone = self.ids[self.numbers.random(len(self.ids)) < self.random.choice([0.01, 0.4, 1])]
                assert self.index.remove(np.append(gone, np.uint64(2**63))) == len(gone)
                self.drop(gone)
            case "compact":
                self.index.compact()
            case "open":
                self.index = dhih.Index(self.path)
            case "move":
                self.path = directory() / "index"
                self.index.checkpoint(self.path)
                self.index = dhih.Index(self.path)
            case kind:
                first = int(self.ids[-1]) + 1 if len(self.ids) else 0
                ids = np.arange(first, first + count, dtype=np.uint64)
                if kind == "upsert":
                    ids = self.numbers.permutation(2 * first + count)[:count].astype(np.uint64)
                codes, labels = self.near(count), self.numbers.integers(-1, 4, count)
                if kind == "upsert":
                    replaced = int(np.isin(ids, self.ids).sum())
                    assert self.index.upsert(codes, ids=ids, labels=labels) == (count - replaced, replaced)
                    self.drop(ids)
                elif len(self.ids) or kind == "add":
                    self.index.add(codes, ids=ids if kind == "add" else None, labels=labels)
                else:
                    return
                self.ids, self.labels = np.append(self.ids, ids), np.append(self.labels, labels)
                self.codes = np.concatenate([self.codes, codes])
                self.sort()

    def check(self):
        queries = np.concatenate([self.near(3), self.code(1)])[: self.random.choice([1, 4])]
        wanted, filters = np.ones(len(self.ids), bool), {}
        if self.random.random() < 0.3:
            filters["label"] = self.random.choice([0, 3, [1, 2], 9])
            wanted &= np.isin(self.labels, filters["label"])
        if self.random.random() < 0.3:
            filters["ids"] = self.ids[self.numbers.random(len(self.ids)) < self.random.choice([0.01, 0.9])]
            wanted &= np.isin(self.ids, filters["ids"])
        ids, codes = self.ids[wanted], self.codes[wanted]
        k, radius = self.random.choice([1, 10, 2000]), self.random.choice([0, 1, 4, self.bits // 4, self.bits])
        nearest = self.index.search(queries, k, **filters)
        within, both = (self.index.within(queries, radius, k=most, **filters) for most in (None, k))
        for row, query in enumerate(queries):
            far = ONES[codes ^ query].sum(axis=1, dtype=np.uint32)
            order = np.lexsort((ids, far))
            inside = order[far[order] <= radius]
            missing = k - min(k, len(order))
            expected = np.append(far[order][:k], [NONE[0]] * missing), np.append(ids[order][:k], np.full(missing, NONE[1], np.uint64))
            np.testing.assert_array_equal(nearest[0][row], expected[0])
            np.testing.assert_array_equal(nearest[1][row], expected[1])
            for (offsets, distances, found), expected in ((within, inside), (both, inside[:k])):
                part = slice(offsets[row], offsets[row + 1])
                np.testing.assert_array_equal(found[part], ids[expected])
                np.testing.assert_array_equal(distances[part], far[expected])


class Changes(unittest.TestCase):
    def test_every_search_is_the_definitions_whatever_was_changed_before(self):
        for seed in range(HISTORIES):
            with self.subTest(seed=seed):
                history = History(seed)
                history.check()
                for _ in range(8):
                    history.change()
                    self.assertEqual(len(history.index), len(history.ids))
                    history.check()
                stored = history.index.codes()
                np.testing.assert_array_equal(stored.codes, history.codes)
                np.testing.assert_array_equal(stored.labels, history.labels)
                history.index.verify()


if __name__ == "__main__":
    unittest.main()
