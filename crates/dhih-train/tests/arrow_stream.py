"""Encodes pictures through `dhih-train encode --arrow-stdin --arrow-stdout` with pyarrow's streams, and compares the codes with those
that the command writes of the same files as Parquet.

Run in a folder with a run `run` and pictures `photos`, the program as argument. Needs pyarrow.
"""
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

program = sys.argv[1]
encode = [program, "encode", "--run", "run"]
subprocess.run([*encode, "--input", "photos", "--out", "all.parquet"], check=True, capture_output=True)
table = pq.read_table("all.parquet")
metadata = table.schema.metadata
assert table.column_names == ["id", "code", "w0", "w1"], table.column_names
assert metadata[b"dhih.bits"] == b"70" and len(metadata[b"dhih.model_sha256"]) == 64, metadata
for row in table.to_pylist():
    words = row["code"].ljust(16, b"\0")
    assert [row["w0"], row["w1"]] == [
        int.from_bytes(words[at : at + 8], "little", signed=True) for at in (0, 8)
    ], row

files = Path("all.parquet.files.txt").read_text().splitlines()
images = [Path(file).read_bytes() for file in files]
images.append(b"no image")
ids = list(range(len(images)))
for layout in (pa.binary(), pa.large_binary(), pa.binary_view()):
    schema = pa.schema([("id", pa.int64()), ("image", layout), ("kind", pa.dictionary(pa.int32(), pa.string()))])
    kinds = pa.array(["photo"] * len(ids)).dictionary_encode()
    given = pa.table([pa.array(ids), pa.array(images, layout), kinds], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(given, max_chunksize=6)
    done = subprocess.run(
        [*encode, "--arrow-stdin", "--arrow-stdout"], input=sink.getvalue().to_pybytes(), check=True, capture_output=True
    )
    with pa.ipc.open_stream(done.stdout) as stream:
        batches = list(stream)
    assert [batch.num_rows for batch in batches] == [6, 6, 6, 3], batches
    got = pa.Table.from_batches(batches)
    assert {key: got.schema.metadata[key] for key in metadata} == metadata
    got.validate(full=True)
    assert got.column("kind").to_pylist() == ["photo"] * len(ids)
    *rows, bad = got.drop_columns(["kind"]).to_pylist()
    expected = [{**row, "error": None} for row in table.to_pylist()]
    assert rows == expected, (rows[0], expected[0])
    assert bad["code"] is None and bad["w0"] is None and bad["error"], bad
print(len(rows), "codes agree")
