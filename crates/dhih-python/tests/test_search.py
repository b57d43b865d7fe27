"""Searches against the definition, filters, and what is refused."""

import unittest

import dhih
import numpy as np
from support import NONE, directory, distances, nearest, some_codes


class Search(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.random = np.random.default_rng(1)
        cls.codes, cls.queries = some_codes(2, 3000, 36), some_codes(2, 40, 36)
        cls.ids = cls.random.permutation(9000)[:3000]
        cls.labels = cls.random.integers(0, 4, 3000)
        cls.index = dhih.build(
            cls.codes, directory() / "made", bits=36, ids=cls.ids, labels=cls.labels
        )

    def assert_same(self, found, expected):
        for found, expected in zip(found, expected, strict=True):
            self.assertEqual(found.dtype, expected.dtype)
            np.testing.assert_array_equal(found, expected)

    def test_nearest_are_the_definitions_with_ties_by_id(self):
        for k in (1, 10, 100):
            expected = nearest(self.queries, self.codes, self.ids, k)
            self.assertLess(len(np.unique(expected[0])), expected[0].size / 2, "no ties: no test")
            self.assert_same(self.index.search(self.queries, k), expected)

    def test_one_query_is_answered_as_among_many(self):
        many, within = self.index.search(self.queries, 9), self.index.radius_search(self.queries, 9)
        for row in range(len(self.queries)):
            query, part = self.queries[row : row + 1], slice(within[0][row], within[0][row + 1])
            self.assert_same(self.index.search(query, 9), [found[row : row + 1] for found in many])
            self.assert_same(self.index.radius_search(query, 9)[1:], [found[part] for found in within[1:]])
            wanted = self.index.search(self.queries, 9, label=1)
            one = self.index.search(query, 9, label=1)
            self.assert_same(one, [found[row : row + 1] for found in wanted])

    def test_other_lengths_of_codes(self):
        for bits in (1, 8, 13, 64, 130, 1024, 4096):
            codes, queries = some_codes(bits, 500, bits), some_codes(bits + 1, 9, bits)
            index = dhih.build(codes, directory(), bits=bits)
            self.assertEqual((index.bits, len(index)), (bits, 500))
            self.assert_same(index.search(queries, 7), nearest(queries, codes, np.arange(500), 7))

    def test_what_is_missing_is_filled_up(self):
        found = dhih.build(self.codes[:3], directory()).search(self.queries[:2], 5)
        self.assert_same(found, nearest(self.queries[:2], self.codes[:3], np.arange(3), 5))
        self.assertEqual((found[0][0, 3], found[1][0, 3]), NONE)

    def test_within_is_the_start_of_a_radius_search(self):
        all_of = self.index.radius_search(self.queries, 14)
        self.assert_same(self.index.within(self.queries, 14), all_of)
        for filters in ({}, {"label": 1}):
            offsets, dist, ids = self.index.radius_search(self.queries, 14, **filters)
            found = self.index.within(self.queries, 14, k=3, **filters)
            for row in range(len(self.queries)):
                of, part = slice(offsets[row], min(offsets[row] + 3, offsets[row + 1])), slice(*found[0][row : row + 2])
                self.assert_same((found[1][part], found[2][part]), (dist[of], ids[of]))
        with self.assertRaises(dhih.DhihError):
            self.index.within(self.queries, 14, k=0)

    def test_items_are_replaced_and_checkpoints_stay(self):
        folder = directory()
        index = dhih.build(self.codes[:50], folder / "index", bits=36)
        self.assertEqual(index.upsert(self.codes[50:60], ids=np.arange(45, 55)), (5, 5))
        index.checkpoint(folder / "backup")
        index.remove([45])
        backup = dhih.Index(folder / "backup")
        backup.verify()
        self.assertEqual((len(index), len(backup), 45 in backup), (54, 55, True))
        distance, _ = backup.search(self.codes[50:51], 1)
        self.assertEqual(distance[0, 0], 0)
        with self.assertRaises(dhih.DhihError):
            index.checkpoint(folder / "backup")

    def test_radius_search_is_the_definition(self):
        for radius in (0, 3, 12, 36):
            offsets, dist, ids = self.index.radius_search(self.queries, radius)
            self.assertEqual((offsets.dtype, dist.dtype, ids.dtype), ("uint64", "uint32", "uint64"))
            self.assertEqual((len(offsets), offsets[0], offsets[-1]), (41, 0, len(ids)))
            for row, all_of_row in enumerate(distances(self.queries, self.codes)):
                order = np.lexsort((self.ids, all_of_row))
                order = order[all_of_row[order] <= radius]
                part = slice(offsets[row], offsets[row + 1])
                np.testing.assert_array_equal(ids[part], self.ids[order])
                np.testing.assert_array_equal(dist[part], all_of_row[order])

    def test_filters_search_among_what_they_let_through(self):
        some = self.random.choice(self.ids, 700, replace=False)
        cases = [
            (dict(label=2), self.labels == 2),
            (dict(label=[1, 3]), np.isin(self.labels, [1, 3])),
            (dict(ids=some), np.isin(self.ids, some)),
            (dict(label=0, ids=some.tolist()), (self.labels == 0) & np.isin(self.ids, some)),
            (dict(label=77), self.labels == 77),
            (dict(ids=[]), self.labels == 77),
        ]
        for filters, wanted in cases:
            expected = nearest(self.queries, self.codes[wanted], self.ids[wanted], 9)
            self.assert_same(self.index.search(self.queries, 9, **filters), expected)
            offsets, _, ids = self.index.radius_search(self.queries, 36, **filters)
            self.assertEqual(len(ids), 40 * wanted.sum())
            self.assertEqual(set(ids), set(self.ids[wanted]))

    def test_ids_are_whole_numbers_however_a_list_mixes_them(self):
        # numpy makes floating-point numbers of the first two lists, and objects of the third.
        large = 2**63 + 1
        index = dhih.build(self.codes[:4], directory(), bits=36, ids=[np.uint64(5), 7, np.int32(9), large])
        found = index.search(self.codes[:1], 4, ids=[np.uint64(5), large, 7])[1]
        self.assertEqual(sorted(found[0].tolist()), [5, 7, large, NONE[1]])
        self.assertEqual(index.remove([np.uint64(5), 7]), 2)
        with self.assertRaisesRegex(dhih.DhihError, f"expected numbers of 64 bits, got -1 to {2**64}"):
            index.remove([-1, 2**64])
        with self.assertRaisesRegex(TypeError, "ids: expected whole numbers, got float64"):
            index.remove([1, 2.5])
        # A mask once counted as the ids 0 and 1.
        with self.assertRaisesRegex(TypeError, "got bool: numpy.flatnonzero"):
            index.search(self.codes[:1], 1, ids=np.ones(4, bool))

    def test_a_name_stands_for_all_classes_that_have_it(self):
        classes = ["a", "cafe\u0301", "a", "caf\u00e9"]
        labels = np.arange(60) % 4
        index = dhih.build(dhih.CodeSet(self.codes[:60], labels=labels, classes=classes), directory())
        for label, wanted in (("a", [0, 2]), (["a", 1], [0, 1, 2]), ("caf\u00e9", [3])):
            ids = index.radius_search(self.codes[:1], 40, label=label)[2]
            self.assertEqual(sorted(ids), np.flatnonzero(np.isin(labels, wanted)).tolist())

    def test_labels_have_names_and_may_be_several(self):
        codes, held = some_codes(3, 60, 16), np.arange(60)[:, None] % [2, 3, 5] == 0
        named = dhih.CodeSet(codes, labels=held, classes=["two", "three", "five"])
        index = dhih.build(named, directory())
        self.assertEqual(index.classes, ["two", "three", "five"])
        for label, wanted in (("three", held[:, 1]), (["two", 2], held[:, 0] | held[:, 2])):
            expected = nearest(codes[:5], codes[wanted], np.flatnonzero(wanted), 8)
            self.assert_same(index.search(codes[:5], 8, label=label), expected)
        with self.assertRaisesRegex(dhih.DhihError, "classes.*two.*got \"four\""):
            index.search(codes, 1, label="four")

    def test_arrays_of_any_layout_are_read(self):
        expected = self.index.search(self.queries, 4)
        for other in (np.asfortranarray(self.queries), np.repeat(self.queries, 2, axis=0)[::2]):
            self.assertFalse(other.flags.c_contiguous)
            self.assert_same(self.index.search(other, 4), expected)
        frozen = self.queries.copy()
        frozen.flags.writeable = False
        self.assert_same(self.index.search(frozen, 4), expected)

    def test_no_query_is_no_error(self):
        found = self.index.search(self.queries[:0], 3)
        self.assertEqual([array.shape for array in found], [(0, 3), (0, 3)])
        self.assertEqual(self.index.radius_search(self.queries[:0], 3)[0].tolist(), [0])

    def test_results_are_arrays_of_their_own(self):
        first, _ = self.index.search(self.queries, 3)
        kept = first.copy()
        self.index.search(self.queries[::-1], 3)[0][:] = 7
        np.testing.assert_array_equal(first, kept)
        self.assertTrue(first.flags.c_contiguous and first.flags.writeable)

    def test_what_is_refused(self):
        queries, search = self.queries, self.index.search
        padded = queries | np.array([0, 0, 0, 0, 0x80], np.uint8)
        for error, message, args in [
            (TypeError, "queries: expected uint8, got float32", (queries.astype(np.float32), 1)),
            (TypeError, "queries: expected a numpy array, got list", (queries.tolist(), 1)),
            (dhih.DhihError, "queries: expected 2 axes, got \\[5\\]", (queries[0], 1)),
            (dhih.DhihError, r"expected \[n, 5\] for codes of 36 bits, got \[40, 4\]", (queries[:, :4], 1)),
            (dhih.DhihError, "k is 0: ask for at least one", (queries, 0)),
            (dhih.DhihError, "k is 0: ask for at least one", (queries[:1], 0)),
            (dhih.DhihError, "bits set beyond bit 36", (padded, 1)),
            (OverflowError, "", (queries, -1)),
            (MemoryError, "no memory for", (queries, 2**62)),
        ]:
            with self.assertRaisesRegex(error, message):
                search(*args)
        for filters in (dict(ids=[-1]), dict(ids=[[1]])):
            with self.assertRaisesRegex(dhih.DhihError, "ids: expected"):
                search(queries, 1, **filters)
        with self.assertRaisesRegex(TypeError, "ids: expected whole numbers, got float64"):
            search(queries, 1, ids=[0.5])
        for label in (0.5, [0, None]):
            with self.assertRaisesRegex(TypeError, "label: expected a number, a name, or a list"):
                search(queries, 1, label=label)
        self.assertTrue(issubclass(dhih.DhihError, ValueError))

    def test_queries_of_another_model_are_refused(self):
        ours = dhih.build(dhih.CodeSet(self.codes, model_sha256="ours"), directory())
        self.assertEqual(ours.model_sha256, "ours")
        ours.search(dhih.CodeSet(self.queries, model_sha256="ours"), 1)
        with self.assertRaisesRegex(dhih.DhihError, "encoded by model theirs, the index by model ours"):
            ours.search(dhih.CodeSet(self.queries, model_sha256="theirs"), 1)
        with self.assertRaisesRegex(dhih.DhihError, "the queries have 40 bits, the index 36"):
            self.index.search(dhih.CodeSet(self.queries), 1)
