"""Image retrieval with learned binary codes: encode, build, search, evaluate.

Arrays are numpy's. Arguments are read where they lie: do not change an array while a call reads it. Other threads run during every
call that takes long.

>>> import dhih, numpy, tempfile
>>> values = numpy.random.default_rng(0).standard_normal((1000, 48)).astype(numpy.float32)
>>> codes = dhih.pack(values)
>>> index = dhih.build(codes, tempfile.mkdtemp())
>>> distances, ids = index.search(codes[:3], 10)
>>> ids[:, 0], distances[:, 0]
(array([0, 1, 2], dtype=uint64), array([0, 0, 0], dtype=uint32))
"""

from ._dhih import (
    CodeSet,
    Codec,
    DhihError,
    Encoder,
    Index,
    Run,
    TextEncoder,
    __version__,
    build,
    evaluate,
    find_pictures,
    num_threads,
    pack,
    read_codes,
    set_num_threads,
)
from .answers import Added, Coded, Found, Hit, Item, Refused, ServiceError
from .client import Client
from .matching import HashDistance, HashIndex, HashMatch

__all__ = [
    "Added",
    "Client",
    "CodeSet",
    "Codec",
    "Coded",
    "DhihError",
    "Encoder",
    "Found",
    "HashDistance",
    "HashIndex",
    "HashMatch",
    "Hit",
    "Index",
    "Item",
    "Refused",
    "Run",
    "ServiceError",
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
