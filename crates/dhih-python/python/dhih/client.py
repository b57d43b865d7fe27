"""A client of the service, `dhih-serve`: searches, items with their metadata, filters, and many items at once."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from shutil import copyfileobj
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from ._dhih import DhihError

_LINES = "application/x-ndjson"
_JSON = "application/json"
# What a connection that the service has closed meanwhile fails with.
_CLOSED = (http.client.RemoteDisconnected, http.client.BadStatusLine, ConnectionResetError, BrokenPipeError)


class ServiceError(DhihError):
    """What the service refused, or that it did not answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; 0 where there was no answer."""
        self.code = code
        """A word for programs, such as `id_taken`: see the chapter on serving."""


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


class Client:
    """A service at a URL, or one of its collections.

    Searches and reads use one connection for each thread. Every change has a connection of its own and is sent once: where no answer comes,
    `ServiceError` with status 0 says so, and `upsert=True` makes it safe to send it again.

        >>> import dhih
        >>> client = dhih.Client("http://127.0.0.1:7878", key=None)
        >>> client                                           # doctest: +ELLIPSIS
        Client('http://127.0.0.1:7878')
    """

    def __init__(
        self,
        url: str,
        *,
        collection: str | None = None,
        key: str | None = None,
        timeout: float = 30.0,
        ca_file: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of a service: give http://HOST:PORT or https://HOST:PORT")
        self._url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._collection = collection
        self._api = "/v1" if collection is None else f"/v1/collections/{quote(collection, safe='')}"
        self._timeout = timeout
        self._context = ssl.create_default_context(cafile=ca_file) if self._secure else None
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._of_thread = threading.local()

    def __repr__(self) -> str:
        return f"Client({self._url!r})" if self._collection is None else f"Client({self._url!r}, collection={self._collection!r})"

    def info(self) -> dict[str, Any]:
        """What is served: bits, items, classes and limits, as `GET /v1/info`."""
        return self._read("GET", "/v1/info")

    def search(
        self,
        *,
        code: str | None = None,
        id: int | None = None,
        vector: Sequence[float] | None = None,
        text: str | None = None,
        image: bytes | str | Path | None = None,
        k: int = 20,
        radius: int | None = None,
        label: str | Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        metadata: bool = False,
        codes: bool = False,
        rescore: int | None = None,
        budget_us: int | None = None,
    ) -> Found:
        """The nearest neighbours of one code, item, vector, text or picture (its bytes, or the path of a file)."""
        query: list[tuple[str, Any]] = [("k", k), ("radius", radius), ("rescore", rescore), ("budget_us", budget_us)]
        query += [("metadata", "true" if metadata else None), ("codes", "true" if codes else None)]
        query += _choice(label, filter)
        named: dict[str, Any] = {"code": code, "id": id, "text": text}
        named["vector"] = None if vector is None else list(vector)
        by = {name: value for name, value in named.items() if value is not None}
        if (len(by) + (image is not None)) != 1:
            raise ValueError("give one of code, id, vector, text and image")
        kind, body = (_JSON, json.dumps(by).encode()) if image is None else _picture(image)
        found = self._read("POST", "/v1/search", query, kind, body)
        return Found([_hit(hit) for hit in found["hits"]], found["code"], found.get("exact"), found.get("certain_within"))

    def encode(
        self,
        *,
        vector: Sequence[float] | None = None,
        text: str | None = None,
        image: bytes | str | Path | None = None,
        values: bool = False,
    ) -> Coded:
        """The code of one vector, text or picture (its bytes, or the path of a file), and its real values if `values` asks for them."""
        named: dict[str, Any] = {"text": text, "vector": None if vector is None else list(vector)}
        by = {name: value for name, value in named.items() if value is not None}
        if (len(by) + (image is not None)) != 1:
            raise ValueError("give one of vector, text and image")
        kind, body = (_JSON, json.dumps(by).encode()) if image is None else _picture(image)
        made = self._read("POST", "/v1/encode", [("values", "true" if values else None)], kind, body)
        return Coded(made["code"], made.get("values"))

    def add(
        self,
        *,
        code: str | None = None,
        vector: Sequence[float] | None = None,
        label: str | Sequence[str] | None = None,
        id: int | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        upsert: bool = False,
    ) -> Item:
        """Adds an item by its code or vector. When this returns it is on disk, and is found."""
        fields: dict[str, Any] = {"code": code, "label": label, "id": id, "external_id": external_id, "metadata": metadata}
        fields["vector"] = None if vector is None else list(vector)
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
        return _item(self._change("POST", "/v1/items", _upsert(upsert), _JSON, body))

    def add_picture(
        self,
        image: bytes | str | Path,
        *,
        label: str | Sequence[str] = (),
        id: int | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        upsert: bool = False,
    ) -> Item:
        """Adds a picture, given by its bytes or the path of a file, where the service has a network."""
        labels = [label] if isinstance(label, str) else list(label)
        fields = [("label", text) for text in labels]
        fields += [] if id is None else [("id", str(id))]
        fields += [] if external_id is None else [("external_id", external_id)]
        fields += [] if metadata is None else [("metadata", json.dumps(metadata))]
        name = "" if isinstance(image, bytes) else Path(image).name
        kind, body = _form(image if isinstance(image, bytes) else Path(image).read_bytes(), name, fields)
        return _item(self._change("POST", "/v1/items", _upsert(upsert), kind, body))

    def add_many(self, items: Iterable[Mapping[str, Any]], *, upsert: bool = False, per_request: int = 10_000) -> Added:
        """Adds items as mappings with `code` or `vector`, and `label`, `id`, `external_id` and `metadata` if you like.

        They are sent in requests of `per_request` items, each of which is one change. Items that are refused leave the others be.
        """
        added = Added([], 0, 0, [])
        part: list[str] = []

        def send() -> None:
            nonlocal added
            made = self._change("POST", "/v1/items/batch", _upsert(upsert), _LINES, "\n".join(part).encode())
            first = len(added.ids)
            refused = [
                Refused(first + failed["line"] - 1, failed["error"]["code"], failed["error"]["message"])
                for failed in made["failed"]
            ]
            added = Added(
                added.ids + made["ids"],
                added.added + made["added"],
                added.replaced + made["replaced"],
                added.refused + refused,
            )
            part.clear()

        for item in items:
            part.append(json.dumps(dict(item)))
            if len(part) >= per_request:
                send()
        if part:
            send()
        return added

    def get(self, id: int) -> Item:
        """The item of an id."""
        return _item(self._read("GET", f"/v1/items/{int(id)}"))

    def find(self, external_id: str) -> Item | None:
        """The item of your own id; None where there is none."""
        found = self._read("GET", "/v1/items", [("external_id", external_id)])["items"]
        return _item(found[0]) if found else None

    def items(
        self,
        *,
        label: str | Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        after: int | None = None,
        page: int = 1000,
    ) -> Iterator[Item]:
        """All items by ascending id, or those of some classes that pass a filter; read page by page."""
        while True:
            read = self._read("GET", "/v1/items", [("limit", page), ("after", after), *_choice(label, filter)])
            yield from map(_item, read["items"])
            after = read["next"]
            if after is None:
                return

    def count(self, *, label: str | Sequence[str] = (), filter: Mapping[str, Any] | None = None) -> int:
        """How many items there are, of all or of those that pass."""
        return int(self._read("GET", "/v1/items/count", _choice(label, filter))["count"])

    def delete(self, id: int) -> None:
        """Deletes an item."""
        self._change("DELETE", f"/v1/items/{int(id)}")

    def delete_where(self, *, label: str | Sequence[str] = (), filter: Mapping[str, Any] | None = None) -> int:
        """Deletes all items of some classes that pass a filter, and says how many there were."""
        return int(self._change("DELETE", "/v1/items", _choice(label, filter))["deleted"])

    def set_metadata(self, id: int, metadata: Mapping[str, Any]) -> Item:
        """Gives an item other metadata."""
        body = json.dumps(dict(metadata)).encode()
        return _item(self._change("PUT", f"/v1/items/{int(id)}/metadata", (), _JSON, body))

    def fields(self) -> dict[str, Any]:
        """The declared fields of the metadata, with their types and most frequent values."""
        return dict(self._read("GET", "/v1/fields")["fields"])

    def declare(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """Declares the fields that filters may name, each as `keyword`, `number` or `bool`, in the place of those before."""
        body = json.dumps({"fields": dict(fields)}).encode()
        return dict(self._change("PUT", "/v1/fields", (), _JSON, body)["fields"])

    def export(
        self,
        file: str | PathLike[str],
        *,
        format: str = "parquet",
        label: str | Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes items to a file: all, or those of some classes that pass a filter.

        `parquet` is a codes file for `dhih.Codes.read` and for other programs; `ndjson` has a line for each item, as `add_many` takes them. The
        file is there once it is whole.
        """
        query = [("format", format), *_choice(label, filter)]
        partial = Path(f"{fspath(file)}.partial")
        connection = self._connect()
        try:
            response = self._ask(connection, "GET", "/v1/items/export", query)
            if response.status != 200:
                raise self._refused(response.status, response.read())
            with partial.open("wb") as out:
                copyfileobj(response, out, 1 << 20)
            partial.replace(file)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(0, "no_answer", f"{self._url} was cut off: {error}") from error
        finally:
            connection.close()
            partial.unlink(missing_ok=True)

    def collections(self) -> list[dict[str, Any]]:
        """The collections of the service that the key may read: name, items, bits and `search_by` of each."""
        return list(self._read("GET", "/v1/collections")["collections"])

    def make_collection(self, name: str, *, bits: int | None = None, like: str | None = None) -> dict[str, Any]:
        """Makes a collection of codes of so many bits, or one like another collection, which its model or codec is copied from."""
        body = {given: value for given, value in (("bits", bits), ("like", like)) if value is not None}
        return self._change("PUT", f"/v1/collections/{quote(name, safe='')}", (), _JSON, json.dumps(body).encode())

    def remove_collection(self, name: str) -> None:
        """Removes a collection with all its items and files."""
        self._change("DELETE", f"/v1/collections/{quote(name, safe='')}")

    def snapshot(self, name: str | None = None) -> dict[str, Any]:
        """Makes a snapshot of index and catalogue, where the service was started with `--snapshot-dir`."""
        return self._change("POST", "/v1/admin/snapshots", [("name", name)])

    def compact(self, *, forget: bool = False) -> dict[str, Any]:
        """Writes index and catalogue anew, so that nothing of deleted items is in the files."""
        return self._change("POST", "/v1/admin/compact", [("forget", "true" if forget else None)])

    def _read(
        self, method: str, path: str, query: Iterable[tuple[str, Any]] = (), kind: str = _JSON, body: bytes | None = None
    ) -> Any:
        connection = getattr(self._of_thread, "connection", None)
        if connection is not None:
            try:
                return self._exchange(connection, method, path, query, kind, body)
            except _CLOSED:
                # It was idle for too long. Nothing was changed by the request, so that it can be sent again.
                connection.close()
        self._of_thread.connection = connection = self._connect()
        return self._exchange(connection, method, path, query, kind, body, told=True)

    def _change(
        self, method: str, path: str, query: Iterable[tuple[str, Any]] = (), kind: str = _JSON, body: bytes | None = None
    ) -> Any:
        connection = self._connect()
        try:
            return self._exchange(connection, method, path, query, kind, body, told=True)
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Iterable[tuple[str, Any]],
        kind: str,
        body: bytes | None,
        told: bool = False,
    ) -> Any:
        try:
            response = self._ask(connection, method, path, query, kind, body)
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            if not told and isinstance(error, _CLOSED):
                raise
            connection.close()
            raise ServiceError(0, "no_answer", f"{self._url} does not answer: {error}") from error
        if 200 <= response.status < 300:
            return json.loads(answer) if answer else None
        raise self._refused(response.status, answer)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Iterable[tuple[str, Any]],
        kind: str = _JSON,
        body: bytes | None = None,
    ) -> http.client.HTTPResponse:
        text = urlencode([(name, value) for name, value in query if value is not None], quote_via=quote)
        # What is about the collections is of none of them.
        if not path.startswith("/v1/collections"):
            path = self._api + path.removeprefix("/v1")
        headers = self._headers | ({"content-type": kind} if body is not None else {})
        connection.request(method, self._prefix + path + ("?" + text if text else ""), body, headers)
        return connection.getresponse()

    def _refused(self, status: int, answer: bytes) -> ServiceError:
        try:
            refusal = json.loads(answer)["error"]
            code, message = str(refusal["code"]), str(refusal["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "no_json", f"{self._url} answered {status} without saying why"
        return ServiceError(status, code, message)


def _choice(label: str | Sequence[str], filter: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    labels = [label] if isinstance(label, str) else list(label)
    chosen: list[tuple[str, Any]] = [("label", one) for one in labels]
    return [*chosen, ("filter", None if filter is None else json.dumps(filter))]


def _upsert(upsert: bool) -> list[tuple[str, Any]]:
    return [("upsert", "true")] if upsert else []


def _hit(hit: Mapping[str, Any]) -> Hit:
    return Hit(*(hit.get(field) for field in Hit._fields))  # type: ignore[arg-type]


def _item(item: Mapping[str, Any]) -> Item:
    return Item(*(item.get(field) for field in Item._fields))  # type: ignore[arg-type]


def _picture(image: bytes | str | Path) -> tuple[str, bytes]:
    return _form(image if isinstance(image, bytes) else Path(image).read_bytes())


def _form(image: bytes, name: str = "", fields: Iterable[tuple[str, str]] = ()) -> tuple[str, bytes]:
    """The media type and the body of a form with a picture."""
    edge = "dhih"
    while edge.encode() in image:
        edge += "-"
    # Of the characters that would end the name.
    name = "".join("_" if c in '"\r\n\\' else c for c in name)
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    parts = [head.encode(), image, b"\r\n"]
    for field, text in fields:
        parts.append(f'--{edge}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'.encode())
    return f"multipart/form-data; boundary={edge}", b"".join([*parts, f"--{edge}--\r\n".encode()])
