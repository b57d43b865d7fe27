"""What the client of the service answers with, and the error that it raises."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._dhih import DhihError


class ServiceError(DhihError):
    """What the service refused, or that it did not answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; 0 where there was no answer."""
        self.code = code
        """A word for programs, such as `id_taken`: see the chapter on serving."""
        self.added: Added | None = None
        """Of `add_many`: what its earlier requests have added, so that you can go on behind it."""


class Hit(NamedTuple):
    """One neighbour."""

    id: int
    """The item's id."""
    distance: int
    """Bits in which its code differs from the query's."""
    label: Any
    """Its class, a list of classes, or None."""
    similarity: float | None
    """The cosine of its vector to the query's, where it was rescored."""
    code: str | None
    """Its code in hexadecimal, where it was asked for."""
    external_id: str | None
    """Your own id of it, where metadata was asked for."""
    metadata: dict[str, Any] | None
    """Its metadata, where it was asked for."""
    image_url: str
    """Where its thumbnail is."""
    link: str | None
    """Where its original is, for a service with `--link-template`."""


class Found(NamedTuple):
    """What a search found."""

    hits: list[Hit]
    """The neighbours, by distance, then id; rescored ones by falling similarity."""
    code: str
    """The query's code in hexadecimal."""
    exact: bool | None
    """Of a rescored search or one with a budget: whether the candidates are exactly the nearest by code."""
    certain_within: int | None
    """Of such a search: everything within so many bits was seen."""
    capped_radius: int | None
    """Of a store whose search ended at `--store-max-radius`: beyond so many bits there may be more hits. None where none are missing."""
    exhaustive: bool | None
    """True where a store had to read all its codes."""
    explanation: dict[str, Any] | None
    """How the index was searched, where it was asked for."""


class Coded(NamedTuple):
    """What the service makes of a picture, a text or a vector."""

    code: str
    """The code in hexadecimal."""
    values: list[float] | None
    """The real values whose signs are the bits, where they were asked for."""


class Item(NamedTuple):
    """An item."""

    id: int
    """Its id."""
    external_id: str | None
    """Your own id of it."""
    label: Any
    """Its class, a list of classes, or None."""
    code: str
    """Its code in hexadecimal."""
    source: str | None
    """The file that it was added from."""
    metadata: dict[str, Any]
    """What is kept with it."""
    image_url: str
    """Where its thumbnail is."""
    link: str | None
    """Where its original is, for a service with `--link-template`."""


class Refused(NamedTuple):
    """An item of many that was refused."""

    number: int
    """Its number among those that were given; the first is 0."""
    code: str
    """A word for programs."""
    message: str
    """Why."""


class Added(NamedTuple):
    """What became of many items."""

    ids: list[int | None]
    """The id of each, in order; None where it was refused."""
    added: int
    """Items that are new."""
    replaced: int
    """Items that took the place of others."""
    refused: list[Refused]
    """Those that were refused: of each request the first 1,000."""
