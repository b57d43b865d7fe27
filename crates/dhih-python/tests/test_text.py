"""Texts to codes: the same as the command's, with vectors that rescore, and what is refused."""

import os
import pathlib
import unittest
import warnings

import dhih
import numpy as np
from support import command, directory, run, tensors

TEXTS = ["a red car", "A photo of a dog", "cats\n", "50 % of the dogs"]


def tower():
    """A directory with the text tower of a run."""
    return pathlib.Path(os.environ["DHIH_TEXT_RUN"])


class TextEncoder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.encoder = dhih.TextEncoder(tower())

    def test_codes_are_those_of_the_command(self):
        out = directory() / "codes.safetensors"
        texts = [part for text in TEXTS for part in ("--text", text)]
        command("encode", "--run", tower(), *texts, "--out", out)
        codes = self.encoder.encode(TEXTS)
        np.testing.assert_array_equal(codes.codes, tensors(out)["codes"])
        self.assertEqual(codes.model_sha256, dhih.read_codes(out).model_sha256)
        self.assertEqual((codes.bits, len(codes)), (36, 4))
        self.assertGreater(len(np.unique(codes.codes, axis=0)), 1, "all codes are equal: no test")
        of_file = dhih.TextEncoder(tower() / "text.safetensors").encode(TEXTS[:2])
        np.testing.assert_array_equal(of_file.codes, codes.codes[:2])

    def test_texts_alone_have_the_codes_of_texts_together(self):
        together = self.encoder.encode(TEXTS)
        for row, text in enumerate(TEXTS):
            alone = self.encoder.encode([text])
            np.testing.assert_array_equal(alone.codes[0], together.codes[row])
            np.testing.assert_allclose(alone.vectors[0], together.vectors[row], rtol=1e-4, atol=1e-6)

    def test_vectors_rescore(self):
        codes = self.encoder.encode(TEXTS)
        self.assertEqual((codes.vectors.dtype, codes.vectors.shape), (np.float32, (4, 64)))
        index = dhih.build(codes, directory(), vectors="f32")
        similarities, ids, _ = index.search(self.encoder.encode(TEXTS[2:]), 1, rescore=4)
        np.testing.assert_array_equal(ids[:, 0], [2, 3])
        np.testing.assert_allclose(similarities, 1, atol=1e-5)

    def test_what_it_is(self):
        found = (self.encoder.bits, self.encoder.dims, self.encoder.context)
        self.assertEqual(found, (36, 64, 12))
        self.assertEqual(self.encoder.model_sha256, "ab" * 32)
        self.assertEqual(repr(self.encoder), "<dhih.TextEncoder: 12 tokens to 36 bits>")

    def test_no_text_is_no_error(self):
        none = self.encoder.encode([])
        self.assertEqual((none.codes.shape, none.vectors.shape), ((0, 5), (0, 64)))

    def test_the_end_of_a_long_text_does_not_count_with_a_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fits = self.encoder.encode(["a dog a dog a dog a dog a dog"])
        with self.assertWarnsRegex(UserWarning, "of 2: 1; .* the first is text 1"):
            codes = self.encoder.encode(["a", "a dog a dog a dog a dog a dog cat"])
        np.testing.assert_array_equal(codes.codes[1], fits.codes[0])

    def test_what_cannot_be_used_is_refused(self):
        for texts, part in (
            (["a", ""], "text 1: .* it is empty"),
            ([" \n"], "text 0: .* it is empty"),
            (["a" * 4097], "4097 bytes; give at most 4096"),
        ):
            with self.assertRaisesRegex(dhih.DhihError, part):
                self.encoder.encode(texts)
        for texts in ("a red car", [b"a"], [1], None):
            self.assertRaises(TypeError, self.encoder.encode, texts)
        with self.assertRaisesRegex(FileNotFoundError, "text.safetensors: there is no text tower"):
            dhih.TextEncoder(run())
        with self.assertRaisesRegex(dhih.DhihError, "it has no text tower"):
            dhih.TextEncoder(run() / "model.safetensors")
