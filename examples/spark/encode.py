"""Encodes a table of pictures or vectors on all executors: `id`, `image` or `vector`, and any other columns in, codes out.

Each task starts `dhih-train encode` as a child process and hands it its rows, batch for batch. The program and the run, or the
codec, must be at the same place on every machine. Codes go to OUT, rows whose picture or vector cannot be used to OUT-errors, with
the reason.
"""
import argparse
import os
import subprocess
import tempfile

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql.types import BinaryType, LongType, StringType, StructField, StructType


def described(command, column):
    """Bits and digest of what makes codes: what the command says of the codes of no row."""
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([column])).close()
    done = subprocess.run(command, input=sink.getvalue().to_pybytes(), capture_output=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode(errors="replace"))
    metadata = pa.ipc.open_stream(done.stdout).schema.metadata
    return int(metadata[b"dhih.bits"]), metadata[b"dhih.model_sha256"].decode()


def encoder(command, threads):
    """What `mapInArrow` calls on the executors: record batches to record batches, through a child process."""

    def encode(batches):
        with tempfile.TemporaryFile() as log:
            # As many threads as the task has cores: other tasks have the others.
            environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            child = subprocess.Popen(command, env=environment, **pipes)
            writer = reader = None
            try:
                for batch in batches:
                    if writer is None:
                        writer = pa.ipc.new_stream(child.stdin, batch.schema)
                    writer.write_batch(batch)
                    child.stdin.flush()
                    if reader is None:
                        reader = pa.ipc.open_stream(child.stdout)
                    yield reader.read_next_batch()
                if writer is not None:
                    writer.close()
                    child.stdin.close()
                    if child.wait() != 0:
                        raise OSError("it failed at the end")
            except (OSError, pa.ArrowException) as error:
                child.kill()
                child.wait()
                log.seek(0)
                said = log.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"`{' '.join(command)}` did not encode a batch ({error}): {said}") from error
            finally:
                # Where the task was stopped, too.
                child.kill()
                child.wait()
                child.stdout.close()

    return encode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="table of pictures or vectors, Parquet")
    made_by = parser.add_mutually_exclusive_group(required=True)
    made_by.add_argument("--run", help="directory of the run, or of its model.safetensors: codes of the column `image`")
    made_by.add_argument("--codec", help="codec.safetensors: codes of the column `vector`, lists of floats")
    parser.add_argument("--out", required=True, help="folder of the codes")
    parser.add_argument("--program", default="dhih-train")
    parser.add_argument("--batch", type=int, default=256, help="rows that a task holds at once")
    args = parser.parse_args()
    if args.codec:
        made_by, column = ["--codec", args.codec], ("vector", pa.list_(pa.float32()))
    else:
        made_by, column = ["--run", args.run], ("image", pa.binary())
    command = [args.program, "encode", *made_by, "--arrow-stdin", "--arrow-stdout"]
    bits, model = described(command, column)

    spark = SparkSession.builder.appName("dhih encode").getOrCreate()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", args.batch)
    rows = spark.read.parquet(args.input)
    fields = [field for field in rows.schema if field.name != column[0]]
    words = [StructField(f"w{i}", LongType()) for i in range((bits + 63) // 64)]
    new = [StructField("code", BinaryType()), *words, StructField("error", StringType())]
    threads = int(spark.conf.get("spark.task.cpus", "1"))
    encoded = rows.mapInArrow(encoder(command, threads), StructType([*fields, *new]))
    # Written to two places, encoded once.
    encoded.persist(StorageLevel.DISK_ONLY)
    codes = encoded.where("error IS NULL").drop("error")
    # Spark keeps this beside the columns; `dhih-index build` reads it.
    codes = codes.withMetadata("code", {"dhih.bits": str(bits), "dhih.model_sha256": model})
    codes.write.mode("overwrite").parquet(args.out)
    errors = encoded.where("error IS NOT NULL").drop("code", *(word.name for word in words))
    errors.write.mode("overwrite").parquet(f"{args.out.rstrip('/')}-errors")
    spark.stop()


if __name__ == "__main__":
    main()
