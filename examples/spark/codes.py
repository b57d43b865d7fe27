"""SQL over tables of codes: columns `id` and `w0`, `w1`, ..., 64 bits of a code each. Distances, and joins that find every pair
within a radius without comparing every pair. It needs nothing but what SQL has; the text is Spark's dialect.
"""

import re


def words(table):
    """The names of a table's words, in their order: as many as the codes are long."""
    given = {name for name in table.columns if re.fullmatch(r"w\d+", name)}
    found = [f"w{i}" for i in range(len(given))]
    if not found or set(found) != given:
        raise SystemExit(f"error: a table of codes has columns w0, w1, ...; this one has {', '.join(table.columns)}")
    return found


def bits(table):
    """The length of a table's codes, in whole bytes."""
    first = table.select("code").first()
    if first is None:
        raise SystemExit("error: a table has no codes")
    return 8 * len(first["code"])


def distance(a, b, words):
    """The Hamming distance of two rows: `bit_count(a.w0 ^ b.w0) + ...`."""
    return " + ".join(f"bit_count({a}.{word} ^ {b}.{word})" for word in words)


def substrings(bits, radius):
    """`radius + 1` parts of a code, as keys for an equi-join.

    Two codes within the radius differ in `radius` bits at most. With one part more than that, one part has none of them: it is the
    same in both. So the rows that share a key are all pairs within the radius, and some others, which their distance tells.
    """
    count = radius + 1
    if not 0 < count <= bits:
        raise SystemExit(f"error: a radius for {bits}-bit codes is 0 to {bits - 1}, not {radius}")
    keys = []
    for part in range(count):
        start, end = part * bits // count, (part + 1) * bits // count
        terms = [f"{part}L"]
        for word in range(start // 64, (end - 1) // 64 + 1):
            low, high = max(start - 64 * word, 0), min(end - 64 * word, 64)
            mask = (1 << high) - (1 << low)
            signed = mask - (1 << 64) if mask >> 63 else mask
            terms.append(f"w{word} & {signed}L")
        keys.append(f"array({', '.join(terms)})")
    return keys


def pairs(a, b, words, bits, radius, condition="true"):
    """SQL for all pairs of rows of the views `a` and `b` within the radius: `a_id`, `b_id` and `distance`, each pair once."""
    columns, keys = ", ".join(words), ", ".join(substrings(bits, radius))
    return f"""
        WITH x AS (SELECT id, {columns}, explode(array({keys})) AS key FROM {a}),
             y AS (SELECT id, {columns}, explode(array({keys})) AS key FROM {b})
        SELECT DISTINCT x.id AS a_id, y.id AS b_id, {distance('x', 'y', words)} AS distance
        FROM x JOIN y ON x.key = y.key
        WHERE {distance('x', 'y', words)} <= {radius} AND {condition}
    """
