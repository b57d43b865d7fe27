"""The package itself: it is the built wheel, it is documented, and its examples run."""

import contextlib
import doctest
import importlib.metadata
import inspect
import os
import pathlib
import re
import sys
import unittest

import dhih
from support import directory, picture, png, run

README = pathlib.Path(__file__).parents[1] / "README.md"


def documented():
    """Every public thing and its members, by name."""
    for name in dhih.__all__:
        value = getattr(dhih, name)
        if isinstance(value, str):
            continue
        yield f"dhih.{name}", value
        if inspect.isclass(value) and not issubclass(value, Exception):
            for member, of_class in vars(value).items():
                if not member.startswith("_"):
                    yield f"dhih.{name}.{member}", of_class


class Package(unittest.TestCase):
    def test_it_is_the_installed_wheel(self):
        self.assertTrue(pathlib.Path(dhih.__file__).is_relative_to(sys.prefix), dhih.__file__)
        self.assertIn(".abi3.", dhih._dhih.__file__)
        self.assertEqual(importlib.metadata.version("dhih"), dhih.__version__)
        self.assertTrue((pathlib.Path(dhih.__file__).parent / "_dhih.pyi").is_file())
        self.assertTrue((pathlib.Path(dhih.__file__).parent / "py.typed").is_file())

    def test_everything_is_documented(self):
        for name, value in documented():
            self.assertTrue(inspect.getdoc(value), name)

    def test_examples_of_the_documentation(self):
        finder, runner, found = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(), 0
        for name, value in [("dhih", dhih), *documented()]:
            for test in finder.find(value, name, module=False, globs={}):
                runner.run(test)
                found += bool(test.examples)
        self.assertEqual(runner.failures, 0)
        self.assertGreaterEqual(found, 8)

    def test_examples_of_the_readme(self):
        blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        self.assertGreaterEqual(len(blocks), 2)
        place = directory()
        (place / "runs").symlink_to(run().parent)
        (place / "photos").mkdir()
        for seed in range(3):
            (place / "photos" / f"{seed}.png").write_bytes(png(picture(seed, 60, 80)))
        before = os.getcwd()
        os.chdir(place)
        try:
            for block in blocks:
                with contextlib.redirect_stdout(None):
                    exec(compile(block, "README.md", "exec"), {})
        finally:
            os.chdir(before)
