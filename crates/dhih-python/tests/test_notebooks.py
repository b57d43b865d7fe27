"""The notebooks of the repository: they run from top to bottom, and are kept without what a run leaves in them."""

import importlib.util
import json
import pathlib
import unittest

FOLDER = pathlib.Path(__file__).parents[3] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NEEDED = ["nbclient", "nbformat", "ipykernel", "matplotlib", "sklearn"]
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


class Notebooks(unittest.TestCase):
    def test_there_are_some(self):
        self.assertTrue(NOTEBOOKS, FOLDER)

    def test_they_are_kept_without_outputs(self):
        for path in NOTEBOOKS:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            self.assertEqual(set(notebook["metadata"]), {"kernelspec", "language_info"}, path.name)
            self.assertEqual(notebook["metadata"]["language_info"], {"name": "python"}, path.name)
            for number, cell in enumerate(notebook["cells"]):
                with self.subTest(path=path.name, cell=number):
                    self.assertEqual(cell["metadata"], {})
                    self.assertFalse(cell.get("outputs"), "clear the outputs before you commit")
                    self.assertIsNone(cell.get("execution_count"))

    @unittest.skipIf(MISSING, f"not installed: {', '.join(MISSING)}")
    def test_they_run(self):
        import nbclient
        import nbformat

        for path in NOTEBOOKS:
            with self.subTest(path=path.name):
                notebook = nbformat.read(path, as_version=4)
                nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
                shown = [
                    output
                    for cell in notebook.cells
                    for output in cell.get("outputs", [])
                    if "image/png" in output.get("data", {})
                ]
                self.assertTrue(shown, "no plot was shown")


if __name__ == "__main__":
    unittest.main()
