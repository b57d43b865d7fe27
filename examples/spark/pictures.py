"""Makes a table of pictures of a folder of them: `id`, `path` and `image`, the bytes of the file.

Ids are numbers in the order of paths. One task sorts them all: this is for folders that fit a machine. Tables that are larger come
with ids of their own.
"""
import argparse

from pyspark.sql import SparkSession

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--input", required=True, help="folder, searched at any depth")
parser.add_argument("--out", required=True, help="table to write, Parquet")
parser.add_argument("--files", type=int, default=1, help="number of its files")
args = parser.parse_args()

spark = SparkSession.builder.appName("dhih pictures").getOrCreate()
files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(args.input)
files.createOrReplaceTempView("files")
pictures = spark.sql("SELECT row_number() OVER (ORDER BY path) - 1 AS id, path, content AS image FROM files")
pictures.selectExpr("CAST(id AS BIGINT) AS id", "path", "image").repartitionByRange(args.files, "id").write.mode("overwrite").parquet(args.out)
spark.stop()
