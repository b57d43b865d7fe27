"""A run's encoder, codes, index and settings, beside the command's own."""

import json
import pathlib
import unittest

import dhih
import numpy as np
from support import command, directory, picture, png, run, tensors


class Encode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.encoder = dhih.Encoder(run())
        height, width, _ = cls.encoder.input_shape
        sizes = [(height, width), (50, 71), (90, 30), (9, 200), (height, width), (1, 1)]
        cls.pictures = [picture(seed, *size) for seed, size in enumerate(sizes)]
        cls.folder = directory()
        cls.files = [cls.folder / f"{at}.png" for at in range(len(sizes))]
        for file, pixels in zip(cls.files, cls.pictures):
            file.write_bytes(png(pixels))

    def test_codes_are_the_commands(self):
        out = directory() / "codes.safetensors"
        command("encode", "--run", run(), "--input", self.folder, "--out", out)
        names = out.with_name("codes.safetensors.files.txt").read_text().splitlines()
        self.assertEqual(names, [str(file) for file in self.files])
        expected = tensors(out)["codes"]
        values = self.encoder.encode_files(self.files)
        self.assertEqual((values.dtype, values.shape), (np.float32, (6, 36)))
        np.testing.assert_array_equal(dhih.pack(values), expected)
        images = np.stack([self.encoder.fit(pixels) for pixels in self.pictures])
        np.testing.assert_array_equal(self.encoder.encode(images), values)
        np.testing.assert_array_equal(self.encoder.encode_packed(images), expected)
        self.assertEqual(dhih.read_codes(out).model_sha256, self.encoder.model_sha256)
        self.assertGreater(len(np.unique(expected, axis=0)), 1, "all codes are equal: no test")

    def test_bytes_paths_and_layouts_do_not_matter(self):
        files = [str(self.files[1]), self.files[2].read_bytes(), self.files[3]]
        values = self.encoder.encode_files(files)
        np.testing.assert_array_equal(values, self.encoder.encode_files(self.files)[1:4])
        images = np.stack([self.encoder.fit(pixels) for pixels in self.pictures])
        np.testing.assert_array_equal(
            self.encoder.encode(np.asfortranarray(images)[::-1]), self.encoder.encode(images)[::-1]
        )
        pixels = self.pictures[0]
        np.testing.assert_array_equal(self.encoder.fit(pixels), pixels)
        other = np.asfortranarray(self.pictures[1])
        np.testing.assert_array_equal(self.encoder.fit(other), images[1])

    def test_the_pictures_of_a_folder_are_the_commands(self):
        folder = directory()
        for name in ["b/2.png", "b/deep/er/1.png", "a", ".hidden/0.png", "@eaDir/0.png"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.files[0].read_bytes())
        (folder / "notes.txt").write_text("not a picture")
        expected = [folder / name for name in ["a", "b/2.png", "b/deep/er/1.png"]]
        self.assertEqual(dhih.find_pictures(folder, strict=True), expected)
        (folder / "gone.png").symlink_to("nowhere")
        with self.assertWarnsRegex(UserWarning, "1 dangling link"):
            self.assertEqual(dhih.find_pictures(folder), expected)
        with self.assertRaisesRegex(dhih.DhihError, "gone.png"):
            dhih.find_pictures(folder, strict=True)
        with self.assertRaises(FileNotFoundError):
            dhih.find_pictures(folder / "none")

    def test_no_image_is_no_error(self):
        none = np.zeros((0, *self.encoder.input_shape), np.uint8)
        self.assertEqual(self.encoder.encode(none).shape, (0, 36))
        self.assertEqual(self.encoder.encode_packed(none).shape, (0, 5))
        self.assertEqual(self.encoder.encode_files([]).shape, (0, 36))

    def test_what_is_refused(self):
        height, width, channels = self.encoder.input_shape
        images = np.zeros((2, height, width, channels), np.uint8)
        with self.assertRaisesRegex(dhih.DhihError, "images: expected .*`fit` makes pictures so"):
            self.encoder.encode(images[:, 1:])
        with self.assertRaisesRegex(dhih.DhihError, "images: expected 4 axes"):
            self.encoder.encode_packed(images[0])
        with self.assertRaisesRegex(TypeError, "images: expected uint8, got float32"):
            self.encoder.encode(images.astype(np.float32))
        for shape in ((0, 4, 3), (4, 0, 3), (4, 4, 4)):
            with self.assertRaisesRegex(dhih.DhihError, "picture: expected"):
                self.encoder.fit(np.zeros(shape, np.uint8))
        broken = self.folder.with_name("broken.png")
        broken.write_bytes(self.files[1].read_bytes()[:-30])
        with self.assertRaisesRegex(dhih.DhihError, "broken.png: the image cannot be used"):
            self.encoder.encode_files([self.files[0], broken])
        with self.assertRaisesRegex(dhih.DhihError, "picture 1: not a JPEG, PNG, WebP"):
            self.encoder.encode_files([self.files[0], b"text"])
        with self.assertRaisesRegex(FileNotFoundError, "none.png"):
            self.encoder.encode_files([self.folder / "none.png"])
        with self.assertRaises(TypeError):
            self.encoder.encode_files(str(self.files[0]))
        with self.assertRaisesRegex(dhih.DhihError, "not a usable checkpoint"):
            dhih.Encoder(run() / "codes.safetensors")


class Run(unittest.TestCase):
    def test_a_run_is_what_lies_in_its_directory(self):
        made = dhih.Run(run())
        self.assertEqual(made.path, run())
        self.assertEqual(made.evaluation, json.loads((run() / "evaluation.json").read_text()))
        self.assertEqual((made.config["train"]["bits"], made.config["train"]["epochs"]), (36, 1))
        self.assertEqual((made.evaluation["bits"], made.evaluation["seed"]), (36, 0))
        for found, name in ((made.codes, "codes"), (made.queries, "queries")):
            expected = tensors(run() / f"{name}.safetensors")
            np.testing.assert_array_equal(found.codes, expected["codes"])
            np.testing.assert_array_equal(found.labels, expected["labels"])
            self.assertEqual((found.bits, found.classes), (36, made.encoder().classes))
            self.assertEqual(found.model_sha256, made.encoder().model_sha256)
        self.assertIs(made.codes, made.codes)

    def test_its_index_answers_its_queries(self):
        made = dhih.Run(run())
        if not (run() / "index").exists():
            with self.assertRaisesRegex(FileNotFoundError, "no index at"):
                made.index()
            dhih.build(made.codes, made.path / "index")
        index = made.index()
        self.assertEqual((len(index), index.classes), (len(made.codes), made.codes.classes))
        distances, ids = index.search(made.queries, 1)
        self.assertIsNone(made.codes.ids)
        differences = np.unpackbits(made.queries.codes ^ made.codes.codes[ids[:, 0]], axis=1)
        np.testing.assert_array_equal(differences.sum(axis=1), distances[:, 0])

    def test_damage_is_an_error(self):
        copy = directory()
        (copy / "config.toml").write_text("version = 99\n")
        with self.assertRaisesRegex(dhih.DhihError, "a run of version 99"):
            dhih.Run(copy)
        (copy / "config.toml").write_text((run() / "config.toml").read_text())
        with self.assertRaisesRegex(FileNotFoundError, "evaluation.json"):
            dhih.Run(copy).evaluation
        with self.assertRaisesRegex(FileNotFoundError, "model.safetensors"):
            dhih.Run(copy).encoder()
        self.assertIsInstance(dhih.Run(copy).path, pathlib.Path)
