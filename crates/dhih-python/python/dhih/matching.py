"""Lists of hashes, such as PDQ's, each with what is known of it: an index with the methods of ThreatExchange's `SignalTypeIndex`."""

from __future__ import annotations

import io
import json
import operator
import pickle
import shutil
import struct
import tempfile
import weakref
from collections.abc import Iterable
from itertools import islice
from threading import Lock
from typing import BinaryIO, Generic, NamedTuple, TypeVar

import numpy as np

from ._dhih import DhihError, Index, build

T = TypeVar("T")

# Hashes that are read, or written to the index, together.
_PART = 1 << 16
_MAGIC = b"dhih hashes 1\n"


class HashDistance(NamedTuple):
    """How far apart two hashes are; near ones come first."""

    distance: int
    """Bits that differ."""

    def pretty_str(self) -> str:
        """The distance as text."""
        return str(self.distance)


class HashMatch(NamedTuple):
    """A hash of the list within the threshold of a query."""

    similarity_info: HashDistance
    """How far it is from the query."""
    metadata: object
    """What was added with it."""


class HashIndex(Generic[T]):
    """A list of hashes in hexadecimal, each with an entry of any kind, that is asked for all within `threshold` bits of a hash.

    It has the methods of the `SignalTypeIndex` of ThreatExchange's Python package: `build`, `query`, `add`, `add_all`, `serialize`,
    `deserialize`. Answers are exact, and ordered by distance, then as the hashes were added. A hash that is added twice is found twice. The
    hashes are in an index in a temporary directory that goes with this object; entries are in memory. Threads may share it.

        >>> import dhih
        >>> index = dhih.HashIndex.build([("0" * 64, "a"), ("0" * 63 + "7", "b"), ("f" * 64, "c")])
        >>> [(match.similarity_info.distance, match.metadata) for match in index.query("0" * 63 + "1")]
        [(1, 'a'), (2, 'b')]
        >>> index.add("0" * 63 + "1", "d")
        >>> index.query("0" * 63 + "1")[0].metadata, len(index)
        ('d', 4)
    """

    def __init__(
        self, entries: Iterable[tuple[str, T]] = (), *, threshold: int = 31, bits: int = 256
    ) -> None:
        self.bits, self.threshold = operator.index(bits), operator.index(threshold)
        if not 8 <= bits <= 4096 or bits % 8:
            raise DhihError(f"bits is {bits}: hashes have a multiple of 8, at most 4096")
        if not 0 <= threshold <= bits:
            raise DhihError(f"threshold is {threshold}: give 0 to {bits}, the length of a hash")
        # Held while entries, hashes and the index are changed: a row of the index is the place of its entry.
        self._changing = Lock()
        self._entries: list[T] = []
        # Hashes that are not in the index yet: it is changed by many at once.
        self._pending = bytearray()
        self._index: Index | None = None
        self.add_all(entries)

    @classmethod
    def build(
        cls, entries: Iterable[tuple[str, T]], *, threshold: int = 31, bits: int = 256
    ) -> HashIndex[T]:
        """An index of pairs of a hash and its entry."""
        return cls(entries, threshold=threshold, bits=bits)

    def query(self, query: str) -> list[HashMatch]:
        """All within the threshold of a hash."""
        return self.query_all([query])[0]

    def query_all(self, queries: Iterable[str]) -> list[list[HashMatch]]:
        """All within the threshold of each of many hashes, on all threads. Faster than one after the other."""
        packed = self._packed(list(queries))
        with self._changing:
            self._flush()
        if self._index is None:
            return [[] for _ in packed]
        offsets, distances, ids = self._index.radius_search(packed, self.threshold)
        found = zip(distances.tolist(), ids.tolist(), strict=True)
        matches = [HashMatch(HashDistance(far), self._entries[row]) for far, row in found]
        ends = offsets.tolist()
        return [matches[start:end] for start, end in zip(ends, ends[1:])]

    def add(self, signal_str: str, entry: T) -> None:
        """Adds a hash and its entry. Those that are there stay."""
        self.add_all([(signal_str, entry)])

    def add_all(self, entries: Iterable[tuple[str, T]]) -> None:
        """Adds pairs of a hash and its entry. One call is faster than many of `add`."""
        remaining = iter(entries)
        while part := list(islice(remaining, _PART)):
            packed = self._packed([signal for signal, _ in part]).tobytes()
            with self._changing:
                self._pending += packed
                self._entries += [entry for _, entry in part]

    def serialize(self, fout: BinaryIO) -> None:
        """Writes hashes and entries to a file that is open in binary. Entries are pickled."""
        with self._changing:
            self._flush()
            entries = list(self._entries)
            codes = None if self._index is None else self._index.codes().codes
        count = len(entries)
        header = {"bits": self.bits, "threshold": self.threshold, "hashes": count}
        text = json.dumps(header).encode()
        fout.write(_MAGIC + struct.pack("<I", len(text)) + text)
        if codes is not None:
            for start in range(0, count, _PART):
                fout.write(codes[start : start + _PART].tobytes())
        pickle.dump(entries, fout, protocol=pickle.HIGHEST_PROTOCOL)

    @classmethod
    def deserialize(cls, fin: BinaryIO) -> HashIndex[T]:
        """Reads what `serialize` wrote. Only from files that you trust: reading pickled entries may run code."""
        if fin.read(len(_MAGIC)) != _MAGIC:
            raise DhihError("these are no hashes that HashIndex.serialize wrote")
        (length,) = struct.unpack("<I", _read(fin, 4))
        try:
            header = json.loads(_read(fin, length))
            hashes = operator.index(header["hashes"])
            read = cls(threshold=header["threshold"], bits=header["bits"])
        except (ValueError, KeyError, TypeError) as error:
            raise DhihError(f"the header cannot be read, the file is damaged: {error}") from error
        read._pending += _read(fin, hashes * read.bits // 8)
        try:
            read._entries = pickle.load(fin)
        except (EOFError, pickle.UnpicklingError) as error:
            raise DhihError(f"the entries cannot be read, the file is damaged: {error}") from error
        if len(read._entries) != hashes:
            raise DhihError(f"{hashes} hashes have {len(read._entries)} entries: the file is damaged")
        return read

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        file = io.BytesIO()
        self.serialize(file)
        return _deserialized, (type(self), file.getvalue())

    def __repr__(self) -> str:
        return f"<dhih.HashIndex: {len(self)} hashes of {self.bits} bits, threshold {self.threshold}>"

    def _packed(self, hashes: list[str]) -> np.ndarray:
        """Hashes as packed codes, uint8 [n, bits / 8]."""
        width, digits = self.bits // 8, self.bits // 4
        try:
            packed = bytes.fromhex("".join(hashes))
        except ValueError:
            packed = b""
        if len(packed) != width * len(hashes) or any(len(text) != digits for text in hashes):
            for text in hashes:
                if len(text) != digits or not all(c in "0123456789abcdefABCDEF" for c in text):
                    raise DhihError(f"{text!r} is no hash of {digits} hexadecimal digits")
        return np.frombuffer(packed, np.uint8).reshape(len(hashes), width)

    def _flush(self) -> None:
        """Writes what was added to the index; the lock is held."""
        if not self._pending:
            return
        codes = np.frombuffer(bytes(self._pending), np.uint8).reshape(-1, self.bits // 8)
        if self._index is None:
            place = tempfile.mkdtemp(prefix="dhih-hashes-")
            weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
            self._index = build(codes, place)
        else:
            self._index.add(codes)
        self._pending = bytearray()


def _read(fin: BinaryIO, length: int) -> bytes:
    data = fin.read(length)
    if len(data) != length:
        raise DhihError("the file of hashes ends too soon")
    return data


def _deserialized(cls: type[HashIndex[T]], data: bytes) -> HashIndex[T]:
    return cls.deserialize(io.BytesIO(data))
