"""Finds near duplicates: each item within RADIUS of an earlier one (of a smaller id), and the first such item.

What is left without the items found has no earlier one within the radius. Equal codes are compared once, however many items have them.
"""
import argparse

from codes import bits, pairs, words
from pyspark.sql import SparkSession

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--codes", required=True, help="table of codes, Parquet")
parser.add_argument("--out", required=True, help="table to write: id, duplicate_of, distance")
parser.add_argument("--radius", type=int, default=3)
args = parser.parse_args()

spark = SparkSession.builder.appName("dhih deduplicate").getOrCreate()
table = spark.read.parquet(args.codes)
names, length = words(table), bits(table)
columns = ", ".join(names)
table.createOrReplaceTempView("items")
spark.sql(f"SELECT min(id) AS id, {columns} FROM items GROUP BY {columns}").createOrReplaceTempView("firsts")
near = pairs("firsts", "firsts", names, length, args.radius, "x.id < y.id")
same = " AND ".join(f"i.{name} = f.{name}" for name in names)
duplicates = spark.sql(f"""
    WITH earlier AS (SELECT b_id AS id, min(a_id) AS first, min_by(distance, a_id) AS distance FROM ({near}) GROUP BY b_id)
    SELECT i.id, coalesce(e.first, f.id) AS duplicate_of, coalesce(e.distance, 0) AS distance
    FROM items AS i JOIN firsts AS f ON {same} LEFT JOIN earlier AS e ON e.id = f.id
    WHERE i.id > coalesce(e.first, f.id)
""")
duplicates.write.mode("overwrite").parquet(args.out)
spark.stop()
