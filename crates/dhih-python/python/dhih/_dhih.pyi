from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Path = str | PathLike[str]
_Codes = NDArray[np.uint8] | CodeSet
_Label = int | str | Sequence[int | str]

__all__ = [
    "CodeSet",
    "Codec",
    "DhihError",
    "Encoder",
    "Index",
    "Run",
    "TextEncoder",
    "__version__",
    "build",
    "evaluate",
    "find_pictures",
    "num_threads",
    "pack",
    "read_codes",
    "set_num_threads",
]
__version__: Final[str]

class DhihError(ValueError): ...

@final
class CodeSet:
    def __new__(
        cls,
        codes: _Codes,
        *,
        bits: int | None = None,
        ids: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        classes: Sequence[str] | None = None,
        model_sha256: str | None = None,
    ) -> CodeSet: ...
    @property
    def codes(self) -> NDArray[np.uint8]: ...
    @property
    def bits(self) -> int: ...
    @property
    def ids(self) -> NDArray[np.uint64] | None: ...
    @property
    def labels(self) -> NDArray[np.int64] | NDArray[np.uint8] | None: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def model_sha256(self) -> str | None: ...
    @property
    def precision(self) -> str | None: ...
    @property
    def vectors(self) -> NDArray[np.float32] | None: ...
    def write(self, path: _Path) -> None: ...
    def __len__(self) -> int: ...

@final
class Codec:
    @staticmethod
    def fit(
        vectors: NDArray[np.float32],
        bits: int = 256,
        method: Literal["sign", "pca-sign", "rotation", "itq"] = "itq",
        *,
        normalize: bool = True,
        seed: int = 0,
        iterations: int = 50,
        nested: Sequence[int] | None = None,
    ) -> Codec: ...
    @staticmethod
    def train(
        vectors: NDArray[np.float32],
        labels: ArrayLike,
        bits: int = 64,
        *,
        loss: str = "hi",
        hidden: int = 1024,
        epochs: int = 15,
        batch_size: int = 256,
        learning_rate: float = 0.1,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        normalize: bool = True,
        seed: int = 0,
        nested: Sequence[int] | None = None,
    ) -> Codec: ...
    @staticmethod
    def train_on_views(
        vectors: NDArray[np.float32],
        views: NDArray[np.float32] | None = None,
        bits: int = 256,
        *,
        epochs: int = 15,
        batch_size: int = 256,
        learning_rate: float = 0.05,
        normalize: bool = True,
        seed: int = 0,
        iterations: int = 50,
        nested: Sequence[int] | None = None,
    ) -> Codec: ...
    @staticmethod
    def load(path: _Path) -> Codec: ...
    def shortened(self, bits: int) -> Codec: ...
    def save(self, path: _Path) -> None: ...
    def encode(self, vectors: NDArray[np.float32]) -> CodeSet: ...
    @property
    def bits(self) -> int: ...
    @property
    def dims(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def nested(self) -> list[int]: ...
    @property
    def model_sha256(self) -> str: ...

@final
class Encoder:
    def __new__(cls, path: _Path) -> Encoder: ...
    @property
    def bits(self) -> int: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def model_sha256(self) -> str: ...
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...
    def encode_packed(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
    def encode_files(self, files: Sequence[_Path | bytes]) -> NDArray[np.float32]: ...
    def fit(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]: ...

@final
class Index:
    def __new__(cls, path: _Path) -> Index: ...
    @overload
    def search(
        self,
        queries: _Codes,
        k: int,
        *,
        label: _Label | None = None,
        ids: ArrayLike | None = None,
        rescore: None = None,
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...
    @overload
    def search(
        self,
        queries: CodeSet,
        k: int,
        *,
        label: _Label | None = None,
        ids: ArrayLike | None = None,
        rescore: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint64], NDArray[np.int64]]: ...
    def radius_search(
        self,
        queries: _Codes,
        radius: int,
        *,
        label: _Label | None = None,
        ids: ArrayLike | None = None,
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint64]]: ...
    def within(
        self,
        queries: _Codes,
        radius: int,
        *,
        k: int | None = None,
        label: _Label | None = None,
        ids: ArrayLike | None = None,
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint64]]: ...
    def upsert(
        self, codes: _Codes, *, ids: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> tuple[int, int]: ...
    def checkpoint(self, path: _Path, *, copy: bool = False) -> None: ...
    def add(
        self, codes: _Codes, *, ids: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> None: ...
    def remove(self, ids: ArrayLike) -> int: ...
    def compact(self) -> None: ...
    def verify(self) -> None: ...
    def info(self) -> dict[str, Any]: ...
    def codes(self) -> CodeSet: ...
    @property
    def bits(self) -> int: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def model_sha256(self) -> str | None: ...
    @property
    def path(self) -> Path: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: int, /) -> bool: ...

@final
class Run:
    def __new__(cls, path: _Path = ...) -> Run: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def evaluation(self) -> dict[str, Any]: ...
    @property
    def codes(self) -> CodeSet: ...
    @property
    def queries(self) -> CodeSet: ...
    @property
    def path(self) -> Path: ...
    def encoder(self) -> Encoder: ...
    def index(self) -> Index: ...
    def evaluate(
        self,
        *,
        map_at: Sequence[int] | None = None,
        precision_at: Sequence[int] | None = None,
        empty: Literal["zero", "omit"] = "zero",
    ) -> dict[str, Any]: ...

@final
class TextEncoder:
    def __new__(cls, path: _Path) -> TextEncoder: ...
    @property
    def bits(self) -> int: ...
    @property
    def dims(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def model_sha256(self) -> str: ...
    def encode(self, texts: Sequence[str]) -> CodeSet: ...

def build(
    codes: _Codes,
    path: _Path,
    *,
    bits: int | None = None,
    ids: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    substrings: int | None = None,
    vectors: Literal["f32", "f16", "int8"] | None = None,
) -> Index: ...
def evaluate(
    database: _Codes,
    queries: _Codes,
    *,
    database_labels: ArrayLike | None = None,
    query_labels: ArrayLike | None = None,
    bits: int | None = None,
    map_at: Sequence[int] | None = None,
    precision_at: Sequence[int] | None = None,
    empty: Literal["zero", "omit"] = "zero",
) -> dict[str, Any]: ...
def find_pictures(folder: _Path, *, strict: bool = False) -> list[Path]: ...
def num_threads() -> int: ...
def pack(values: NDArray[np.float32]) -> NDArray[np.uint8]: ...
def read_codes(path: _Path, bits: int | None = None) -> CodeSet: ...
def set_num_threads(threads: int) -> None: ...
