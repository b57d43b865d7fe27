"""The metrics are the command's, to the last digit."""

import json
import unittest

import dhih
import numpy as np
from support import command, directory, run, some_codes


class Evaluate(unittest.TestCase):
    def command(self, codes, labels, bits, *more):
        """What `dhih-train evaluate` says of codes and labels in npy files: (database, queries) each."""
        path, args = directory(), []
        for name, array in zip(("database", "queries", "database-labels", "query-labels"), codes + labels):
            np.save(path / f"{name}.npy", array)
            args += [f"--{name}", path / f"{name}.npy"]
        return json.loads(command("evaluate", *args, "--bits", bits, "--json", *more))

    def test_numbers_are_the_commands(self):
        random = np.random.default_rng(5)
        codes = some_codes(6, 2300, 20), some_codes(6, 170, 20)
        labels = random.integers(0, 7, 2300), random.integers(0, 9, 170)
        given = dict(database_labels=labels[0], query_labels=labels[1].astype(np.int16), bits=20)
        expected = self.command(codes, labels, 20)
        found = dhih.evaluate(*codes, **given)
        self.assertEqual(found, expected)
        self.assertEqual(list(found), list(expected))
        self.assertTrue(0 < found["map"] < 1 and len(found["curves"]) > 1)
        expected = self.command(codes, labels, 20, "--topk", 50, "--empty", "omit")
        at = [100, 1000, 5000, 50]
        self.assertEqual(dhih.evaluate(*codes, **given, map_at=at, empty="omit"), expected)
        fewer = dhih.evaluate(*codes, **given, map_at=[3], precision_at=[2])
        self.assertEqual((list(fewer["map_at"]), list(fewer["precision_at"])), (["3"], ["2"]))
        self.assertEqual(fewer["map"], expected["map"])

    def test_several_labels_an_item(self):
        random = np.random.default_rng(7)
        codes = some_codes(8, 700, 48), some_codes(8, 60, 48)
        labels = random.random((700, 6)) < 0.3, random.random((60, 6)) < 0.3
        expected = self.command(codes, tuple(part.astype(np.uint8) for part in labels), 48)
        sets = [dhih.CodeSet(part, labels=held) for part, held in zip(codes, labels)]
        self.assertEqual(dhih.evaluate(*sets), expected)

    def test_a_run_is_evaluated_as_by_the_command(self):
        expected = json.loads(command("evaluate", "--run", run(), "--json"))
        made = dhih.Run(run())
        # The command can compute the codes of the queries anew, and says in what.
        self.assertEqual(expected.pop("precision"), "f32")
        self.assertEqual(made.evaluate(), expected)
        metrics = dhih.evaluate(made.codes, made.queries)
        self.assertEqual({**expected, **metrics}, expected)
        for key, value in metrics.items():
            self.assertEqual(made.evaluation[key], value, key)

    def test_what_is_refused(self):
        codes = some_codes(1, 9, 16)
        labelled = dhih.CodeSet(codes, labels=[0] * 9)
        for message, args, more in [
            ("the database has no labels", (codes, labelled), {}),
            ("the queries has no labels", (labelled, codes), {}),
            ("the database has 16 bits, the queries have 8", (labelled, dhih.CodeSet(codes[:, :1], labels=[0] * 9)), {}),
            ("4 labels for 9 codes", (labelled, codes), dict(query_labels=[0] * 4)),
            ("are empty", (labelled, codes[:0]), dict(query_labels=[])),
            ("empty: expected \"zero\" or \"omit\", got \"none\"", (labelled, labelled), dict(empty="none")),
            ("map_at: expected at least 1, got 0", (labelled, labelled), dict(map_at=[0])),
        ]:
            with self.assertRaisesRegex(dhih.DhihError, message):
                dhih.evaluate(*args, **more)
