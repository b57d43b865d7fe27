"""Packing, codes files, building, and changing an index."""

import pathlib
import unittest

import dhih
import numpy as np
from support import directory, nearest, some_codes, tensors


class Codes(unittest.TestCase):
    def test_packing_is_numpys_in_little_bit_order(self):
        for bits in (1, 8, 13, 48):
            values = np.random.default_rng(bits).integers(-2, 3, (50, bits)).astype(np.float32)
            expected = np.packbits(values >= 0, axis=1, bitorder="little")
            np.testing.assert_array_equal(dhih.pack(values), expected)
            np.testing.assert_array_equal(dhih.pack(np.asfortranarray(values)), expected)

    def test_what_cannot_be_packed(self):
        with self.assertRaisesRegex(dhih.DhihError, "value 1 of item 0 is not a number"):
            dhih.pack(np.array([[1, np.nan]], np.float32))
        with self.assertRaisesRegex(TypeError, "values: expected float32, got float64"):
            dhih.pack(np.zeros((2, 8)))
        with self.assertRaisesRegex(dhih.DhihError, "use 1 to 4096 bits"):
            dhih.pack(np.zeros((2, 4097), np.float32))

    def test_codes_files_hold_what_was_written(self):
        codes, ids = some_codes(1, 20, 20), np.arange(20) * 3
        cases = [
            ("safetensors", np.arange(20) % 3, ["a", "b", "c"]),
            ("parquet", np.arange(40).reshape(20, 2) % 3 % 2 == 0, None),
        ]
        for kind, labels, classes in cases:
            path = directory() / f"codes.{kind}"
            written = dhih.CodeSet(
                codes, bits=20, ids=ids, labels=labels, classes=classes, model_sha256="m"
            )
            written.write(path)
            read = dhih.read_codes(path)
            np.testing.assert_array_equal(read.codes, codes)
            np.testing.assert_array_equal(read.ids, ids)
            np.testing.assert_array_equal(read.labels, labels)
            self.assertEqual((read.bits, len(read), read.model_sha256), (20, 20, "m"))
            if kind == "safetensors":
                np.testing.assert_array_equal(tensors(path)["codes"], codes)
                np.testing.assert_array_equal(tensors(path)["ids"], ids)
                self.assertEqual(read.classes, classes)

    def test_npy_files_need_bits(self):
        path = directory() / "codes.npy"
        np.save(path, some_codes(1, 20, 20))
        self.assertEqual(dhih.read_codes(str(path), 20).bits, 20)
        self.assertIsNone(dhih.read_codes(path, bits=20).ids)
        with self.assertRaisesRegex(dhih.DhihError, "does not say how many bits"):
            dhih.read_codes(path)

    def test_parts_that_do_not_fit_are_refused(self):
        codes = some_codes(1, 4, 16)
        for message, more in [
            ("3 ids for 4 codes", dict(ids=[1, 2, 3])),
            ("id 5 occurs more than once", dict(ids=[5, 5, 1, 2])),
            ("5 labels for 4 codes", dict(labels=[0] * 5)),
            ("label 2 of item 3 is none of the 2 classes", dict(labels=[0, 1, 0, 2], classes=["a", "b"])),
            ("item 0 has a 2: use 0 and 1", dict(labels=np.full((4, 3), 2, np.uint8))),
            (r"expected \[n, 1\] for codes of 8 bits", dict(bits=8)),
            ("bits set beyond bit 9", dict(bits=9)),
        ]:
            with self.assertRaisesRegex(dhih.DhihError, message):
                dhih.CodeSet(codes, **more)
        with self.assertRaisesRegex(TypeError, "labels: expected whole numbers, got float64"):
            dhih.CodeSet(codes, labels=[0.0] * 4)
        with self.assertRaisesRegex(dhih.DhihError, "substrings do not suit 16-bit codes"):
            dhih.build(codes, directory(), substrings=17)

    def test_ids_and_labels_are_whole_numbers_of_any_type(self):
        codes, numbers = some_codes(1, 4, 16), [0, 2, 1, 100]
        rows = [[0, 1], [1, 0], [1, 1], [0, 0]]
        for kind in (np.int8, np.uint16, np.int32, np.uint64, np.int64):
            of_kind = dhih.CodeSet(codes, ids=np.array(numbers, kind), labels=np.array(numbers, kind))
            self.assertEqual((of_kind.ids.tolist(), of_kind.labels.tolist()), (numbers, numbers))
            self.assertEqual(dhih.CodeSet(codes, labels=np.array(rows, kind)).labels.tolist(), rows)
        self.assertEqual(dhih.CodeSet(codes, labels=rows).labels.tolist(), rows)
        for message, more in [
            (r"labels: expected no number above 9223372036854775807, got 9223372036854775808", dict(labels=np.array([0, 1, 2, 2**63], np.uint64))),
            (r"ids: expected no number below 0, got -1", dict(ids=[0, 1, 2, -1])),
            ("labels of several classes: expected no number above 255, got 256", dict(labels=[[0, 256]] * 4)),
            ("labels of several classes: expected no number below 0, got -1", dict(labels=[[0, -1]] * 4)),
        ]:
            with self.assertRaisesRegex(dhih.DhihError, message):
                dhih.CodeSet(codes, **more)

    def test_missing_files_are_not_found(self):
        missing = directory() / "missing"
        with self.assertRaisesRegex(FileNotFoundError, "no index at .*missing"):
            dhih.Index(missing)
        for read in (dhih.read_codes, dhih.Encoder, dhih.Run):
            with self.assertRaisesRegex(FileNotFoundError, "missing"):
                read(missing)
        with self.assertRaisesRegex(dhih.DhihError, "it has no config.toml"):
            dhih.Run(directory())
        damaged = directory() / "codes.safetensors"
        damaged.write_bytes(b"damaged")
        with self.assertRaisesRegex(dhih.DhihError, "not a usable codes file"):
            dhih.read_codes(damaged)


class Changes(unittest.TestCase):
    def check(self, index, codes, ids):
        queries = some_codes(9, 7, 48)
        for found, expected in zip(index.search(queries, 12), nearest(queries, codes, ids, 12)):
            np.testing.assert_array_equal(found, expected)

    def test_items_are_added_and_removed_on_disk(self):
        codes = some_codes(4, 900, 48)
        index = dhih.build(codes[:500], directory())
        index.add(codes[500:800])
        index.add(codes[800:], ids=np.arange(2000, 2100))
        self.assertEqual(index.remove([5, 2001, 2001, 77777]), 2)
        ids = np.concatenate([np.arange(800), np.arange(2000, 2100)])
        kept = ~np.isin(ids, [5, 2001])
        for opened in (index, dhih.Index(index.path)):
            self.assertEqual((len(opened), 5 in opened, 2002 in opened, -1 in opened), (898, False, True, False))
            self.check(opened, codes[kept], ids[kept])
        # An item that is removed from the log leaves nothing behind; one of a segment does.
        self.assertEqual((index.info()["deleted"], index.info()["logged"]), (1, 399))
        index.compact()
        index.verify()
        self.assertEqual((index.info()["deleted"], index.info()["logged"]), (0, 0))
        self.check(index, codes[kept], ids[kept])
        np.testing.assert_array_equal(index.codes().codes, codes[kept])
        np.testing.assert_array_equal(index.codes().ids, ids[kept])

    def test_labels_go_with_the_items(self):
        codes = some_codes(4, 20, 48)
        index = dhih.build(codes[:10], directory(), labels=[0] * 10)
        index.add(codes[10:], labels=np.ones(10, np.uint8))
        self.assertEqual(set(index.search(codes, 10, label=1)[1].flat), set(range(10, 20)))
        with self.assertRaisesRegex(dhih.DhihError, "the items have no labels"):
            index.add(codes[:1])

    def test_what_cannot_be_added_changes_nothing(self):
        codes = some_codes(4, 20, 48)
        index = dhih.build(codes, directory())
        with self.assertRaisesRegex(dhih.DhihError, "id 7 is taken"):
            index.add(codes[:1], ids=[7])
        with self.assertRaisesRegex(dhih.DhihError, "for codes of 48 bits"):
            index.add(codes[:, :5])
        with self.assertRaisesRegex(dhih.DhihError, "codes of 40 bits do not go with codes of 48 bits"):
            index.add(dhih.CodeSet(codes[:, :5]))
        self.check(index, codes, np.arange(20))

    def test_an_index_is_replaced_and_described(self):
        path = directory() / "index"
        dhih.build(some_codes(1, 50, 48), path)
        index = dhih.build(some_codes(2, 60, 48), str(path))
        self.assertEqual((len(dhih.Index(path)), index.path, index.model_sha256), (60, path, None))
        self.assertIsInstance(index.path, pathlib.Path)
        self.assertEqual((index.info()["codes"], index.info()["bits"]), (60, 48))
        self.assertIn("60 codes of 48 bits", repr(index))
