"""Finds the k nearest codes of each query, exactly, as `dhih-index search` does: ordered by distance, then by id.

All pairs within RADIUS come from an equi-join on substrings of the codes. A query with k of them has its nearest among them; what is left
is compared with every code. A greater radius leaves fewer queries and makes shorter substrings, which more pairs share.
"""
import argparse

from codes import bits, distance, pairs, words
from pyspark.sql import SparkSession

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--database", required=True, help="table of codes, Parquet")
parser.add_argument("--queries", required=True, help="table of codes, Parquet")
parser.add_argument("--out", required=True, help="table to write: query, rank from 1, id, distance")
parser.add_argument("-k", type=int, default=10)
parser.add_argument("--radius", type=int, default=3)
args = parser.parse_args()

spark = SparkSession.builder.appName("dhih knn").getOrCreate()
database, queries = spark.read.parquet(args.database), spark.read.parquet(args.queries)
names, length = words(database), bits(database)
if words(queries) != names or bits(queries) != length:
    raise SystemExit("error: the queries' codes are of another length than the database's")
database.createOrReplaceTempView("items")
queries.createOrReplaceTempView("queries")
columns = ", ".join(names)

# Of equal codes, k are enough: whoever comes after them has k before it.
spark.sql(f"""
    SELECT id, {columns} FROM
        (SELECT id, {columns}, row_number() OVER (PARTITION BY {columns} ORDER BY id) AS place FROM items)
    WHERE place <= {args.k}
""").createOrReplaceTempView("database")


def nearest(found):
    """The first k of each query."""
    return spark.sql(f"""
        SELECT query, rank, id, distance FROM
            (SELECT *, row_number() OVER (PARTITION BY query ORDER BY distance, id) AS rank FROM ({found}))
        WHERE rank <= {args.k}
    """)


within = pairs("queries", "database", names, length, args.radius)
near = nearest(f"SELECT a_id AS query, b_id AS id, distance FROM ({within})").persist()
near.createOrReplaceTempView("near")
complete = f"SELECT query FROM near WHERE rank = {args.k}"
rest = nearest(f"""
    SELECT q.id AS query, d.id, {distance('q', 'd', names)} AS distance
    FROM (SELECT * FROM queries WHERE id NOT IN ({complete})) AS q CROSS JOIN database AS d
""")
done = near.where(f"query IN ({complete})")
done.union(rest).write.mode("overwrite").parquet(args.out)
spark.stop()
