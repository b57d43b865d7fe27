"""Codecs and rescoring: the same codes as the command's, the most similar of the candidates, and what is refused."""

import unittest

import dhih
import numpy as np
from support import command, directory, tensors


def clustered(seed, n, dims=32):
    """Vectors around a few centres."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((8, dims))
    vectors = centres[random.integers(0, 8, n)] + 0.7 * random.standard_normal((n, dims))
    return vectors.astype(np.float32)


class Codec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vectors, cls.queries = clustered(1, 2000), clustered(2, 20)
        cls.codec = dhih.Codec.fit(cls.vectors, bits=24)

    def test_codes_are_those_of_the_command(self):
        path = directory()
        np.save(path / "v.npy", self.vectors)
        fit = ["codec", "--vectors", path / "v.npy", "--bits", "24", "--out", path / "codec.safetensors"]
        command(*fit)
        codec = ["--codec", path / "codec.safetensors"]
        command("encode", *codec, "--vectors", path / "v.npy", "--out", path / "codes.safetensors")
        of_command = tensors(path / "codes.safetensors")["codes"]
        loaded = dhih.Codec.load(path / "codec.safetensors")
        self.assertEqual(loaded.model_sha256, self.codec.model_sha256)
        for codec in (loaded, self.codec):
            np.testing.assert_array_equal(codec.encode(self.vectors).codes, of_command)
        self.codec.save(path / "again.safetensors")
        again = dhih.Codec.load(path / "again.safetensors")
        self.assertEqual((again.bits, again.dims, again.method), (24, 32, "itq"))

    def test_candidates_are_rescored(self):
        codes, queries = self.codec.encode(self.vectors), self.codec.encode(self.queries)
        np.testing.assert_array_equal(codes.vectors, self.vectors)
        unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
        cosines = unit(self.queries.astype(np.float64)) @ unit(self.vectors.astype(np.float64)).T
        for kept, slack in (("f32", 1e-6), ("f16", 1e-3), ("int8", 2e-2), (None, 1e-6)):
            index = dhih.build(codes, directory(), vectors=kept)
            similarities, ids, certain = index.search(queries, 10, rescore=200)
            self.assertEqual(
                (similarities.dtype, ids.dtype, certain.dtype), (np.float32, np.uint64, np.int64)
            )
            distances, candidates = index.search(queries, 201)
            np.testing.assert_array_equal(certain, distances[:, 200].astype(np.int64) - 1)
            for row, of_row in enumerate(cosines):
                best = np.sort(of_row[candidates[row, :200].astype(int)])[::-1][:10]
                np.testing.assert_allclose(similarities[row], best, atol=slack)
                np.testing.assert_allclose(of_row[ids[row].astype(int)], similarities[row], atol=slack)
            all_similar, all_ids, _ = index.search(queries, 3, rescore=len(index), ids=[5, 7])
            self.assertEqual(set(all_ids[0, :2]), {5, 7})
            self.assertEqual(all_similar[0, 2], -np.inf)

    def test_vectors_live_through_changes(self):
        index = dhih.build(self.codec.encode(self.vectors[:500]), directory(), vectors="f16")
        index.add(self.codec.encode(self.vectors[500:600]))
        index.remove([3])
        index.compact()
        kept = index.codes()
        rows = [row for row in range(600) if row != 3]
        np.testing.assert_array_equal(kept.ids, rows)
        np.testing.assert_allclose(kept.vectors, self.vectors[rows], rtol=1e-3, atol=1e-6)
        self.assertEqual(index.info()["vectors"], {"type": "f16", "dims": 32})

    def test_labels_train_a_codec(self):
        rows = self.vectors[:600]
        classes = (rows[:, 5] > 0).astype(np.int64) + 2 * (rows[:, 6] > 0)
        train = {"loss": "hi", "hidden": 64, "nested": [8], "epochs": 20}
        codec = dhih.Codec.train(rows, classes, bits=40, **train)
        self.assertEqual((codec.method, codec.bits, codec.nested), ("head", 40, [8]))
        again = dhih.Codec.train(rows, classes, bits=40, **train)
        self.assertEqual(again.model_sha256, codec.model_sha256)
        columns = np.eye(4, dtype=np.uint8)[classes]
        self.assertEqual(
            dhih.Codec.train(rows, columns, bits=40, **train).model_sha256, codec.model_sha256
        )
        short = codec.shortened(8)
        self.assertEqual((short.bits, short.nested), (8, []))
        np.testing.assert_array_equal(
            short.encode(rows).codes[:, 0], codec.encode(rows).codes[:, 0]
        )
        # Codes of a class are nearer to each other than those of other classes.
        bits = np.unpackbits(codec.encode(rows).codes, axis=1).astype(int)
        distances = (bits[:, None, :] != bits[None, :, :]).sum(2)
        same = classes[:, None] == classes[None, :]
        self.assertLess(2 * distances[same].mean(), distances[~same].mean())
        nested = dhih.Codec.fit(rows, bits=16, nested=[4, 8])
        np.testing.assert_array_equal(
            nested.shortened(8).encode(rows).codes[:, 0], nested.encode(rows).codes[:, 0]
        )

    def test_two_views_train_a_codec(self):
        """Without labels. The views differ in half of the numbers, in which the vectors vary most."""
        random = np.random.default_rng(4)
        shared = np.random.default_rng(5).standard_normal((8, 32))[random.integers(0, 8, 600)]
        shared[:, 16:] = 0
        def view():
            own = random.standard_normal(shared.shape)
            own[:, :16] *= 0.3
            own[:, 16:] *= 2
            return (shared + own).astype(np.float32)
        rows, others = view(), view()
        train = {"bits": 16, "nested": [8], "batch_size": 100}
        codec = dhih.Codec.train_on_views(rows, others, **train)
        self.assertEqual((codec.method, codec.bits, codec.nested), ("head", 16, [8]))
        again = dhih.Codec.train_on_views(rows, others, **train)
        self.assertEqual(again.model_sha256, codec.model_sha256)
        path = directory()
        np.save(path / "v.npy", rows)
        np.save(path / "w.npy", others)
        command(
            "codec", "--vectors", path / "v.npy", "--views", path / "w.npy", "--bits", "16",
            "--nested", "8", "--batch-size", "100", "--out", path / "codec.safetensors",
        )
        self.assertEqual(
            dhih.Codec.load(path / "codec.safetensors").model_sha256, codec.model_sha256
        )
        own = dhih.Codec.train_on_views(rows, bits=16, epochs=1)
        self.assertEqual((own.method, own.bits, own.nested), ("head", 16, []))
        differing = lambda of: np.unpackbits(of.encode(rows).codes ^ of.encode(others).codes).mean()
        self.assertLess(2 * differing(codec), differing(dhih.Codec.fit(rows, bits=16)))

    def test_signs_that_numpy_packs_are_codes(self):
        """As `quantize_embeddings` of sentence-transformers makes them, `ubinary` and `binary`."""
        unsigned = np.packbits(self.vectors > 0).reshape(len(self.vectors), -1)
        signed = (unsigned.astype(np.int16) - 128).astype(np.int8)
        back = (signed.astype(np.int16) + 128).astype(np.uint8)
        np.testing.assert_array_equal(back, unsigned)
        index = dhih.build(unsigned, directory())
        distances, ids = index.search(np.packbits(self.queries > 0).reshape(len(self.queries), -1), 5)
        differing = (self.queries[:, None, :] > 0) != (self.vectors[None, :, :] > 0)
        expected = np.sort(differing.sum(2), axis=1)[:, :5]
        np.testing.assert_array_equal(distances, expected)

    def test_what_cannot_be_used_is_refused(self):
        classes = np.arange(len(self.vectors)) % 3
        bare = self.codec.encode(self.queries).codes
        index = dhih.build(self.codec.encode(self.vectors), directory())
        plain = dhih.build(bare, directory())
        wrong = self.queries.copy()
        wrong[7, 3] = np.nan
        for call, part in (
            (lambda: self.codec.encode(self.queries[:, :8]), r"\[n, 32\]"),
            (lambda: self.codec.encode(wrong), "vector 7"),
            (lambda: dhih.Codec.fit(self.vectors, bits=33), "bits"),
            (lambda: dhih.Codec.fit(self.vectors, method="lsh"), "itq"),
            (lambda: dhih.Codec.fit(self.vectors, method="head"), "train_on_views"),
            (lambda: dhih.Codec.train_on_views(self.vectors, self.vectors[:9], 8), "views is 9"),
            (lambda: dhih.Codec.train_on_views(self.queries, wrong, 8), "other views, vector 7"),
            (lambda: dhih.Codec.fit(self.vectors, bits=8, nested=[8]), "1 to 7 bits, ascending"),
            (lambda: dhih.Codec.train(self.vectors, classes[:9]), "number of labels is 9"),
            (lambda: dhih.Codec.train(self.vectors, 0 * classes), "number of classes is 1"),
            (lambda: dhih.Codec.train(self.vectors, classes, loss="his"), "did you mean"),
            (lambda: dhih.Codec.train(self.vectors, classes, loss="hi:mu"), "NAME=VALUE"),
            (lambda: self.codec.shortened(8), "bits is 8, expected 24"),
            (lambda: index.search(bare, 3, rescore=9), "CodeSet of a codec"),
            (lambda: index.search(self.codec.encode(self.queries), 9, rescore=3), "3 candidates"),
            (lambda: plain.search(self.codec.encode(self.queries), 3, rescore=9), "no vectors"),
            (lambda: dhih.build(bare, directory(), vectors="int8"), "CodeSet of a codec"),
            (lambda: dhih.build(self.codec.encode(self.queries), directory(), vectors="int4"), "int8"),
            (lambda: index.add(bare), "no vectors"),
        ):
            self.assertRaisesRegex(dhih.DhihError, part, call)
        self.assertRaises(TypeError, self.codec.encode, self.queries.astype(np.float64))
