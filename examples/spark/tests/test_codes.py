"""The SQL of the joins, without Spark: codes of every length have all their words in it."""

import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))
import codes  # noqa: E402


class Codes(unittest.TestCase):
    def test_a_table_has_as_many_words_as_its_codes_are_long(self):
        for count in (1, 16, 17, 64):
            names = [f"w{i}" for i in range(count)]
            # Spark may have the columns in any order.
            table = SimpleNamespace(columns=["id", "code", *sorted(names), "where"])
            self.assertEqual(codes.words(table), names)
            self.assertEqual(codes.distance("a", "b", names).count("bit_count"), count)

    def test_a_table_that_lacks_a_word_is_refused(self):
        for columns in (["id"], ["id", "w1"], ["id", "w0", "w2"]):
            with self.assertRaisesRegex(SystemExit, "columns w0, w1"):
                codes.words(SimpleNamespace(columns=columns))

    def test_substrings_take_every_bit_of_a_long_code_once(self):
        keys = codes.substrings(4096, 70)
        self.assertEqual(len(keys), 71)
        bits = 0
        for key in keys:
            for term in key.removeprefix("array(").removesuffix(")").split(", ")[1:]:
                word, mask = term.split(" & ")
                mask = (int(mask.removesuffix("L")) % (1 << 64)) << (64 * int(word.removeprefix("w")))
                self.assertEqual(bits & mask, 0)
                bits |= mask
        self.assertEqual(bits, (1 << 4096) - 1)


if __name__ == "__main__":
    unittest.main()
