"""A client of the service, `dhih-serve`: searches, items with their metadata, filters, and many items at once. Its answers: `answers.py`."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from time import sleep
from typing import Any, SupportsFloat
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from .answers import Added, Coded, Found, Hit, Item, Refused, ServiceError

_LINES = "application/x-ndjson"
_JSON = "application/json"
# How often a change with an idempotency key is sent while no answer comes, and the seconds between.
_ATTEMPTS = 3
_PAUSE = 0.5
# Bytes of an export that are read at a time.
_PIECE = 1 << 20
# What a connection that the service has closed meanwhile fails with.
_CLOSED = (http.client.RemoteDisconnected, http.client.BadStatusLine, ConnectionResetError, BrokenPipeError)


class Client:
    """A service at a URL, or one of its collections.

    Searches and reads use one connection for each thread. Every change has a connection of its own. All but those of `add_many` are sent once:
    where no answer comes, `ServiceError` with status 0 says so, and `upsert=True` makes it safe to send it again.

    Vectors may be numpy arrays of any kind of number, and so may the numbers in items and metadata.

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
        return dict(self._read("GET", "/v1/info"))

    def search(
        self,
        *,
        code: str | None = None,
        id: int | None = None,
        vector: Iterable[SupportsFloat] | None = None,
        text: str | None = None,
        image: bytes | str | Path | None = None,
        images: Sequence[bytes | str | Path] | None = None,
        k: int = 20,
        offset: int = 0,
        radius: int | None = None,
        label: str | Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
        metadata: bool = False,
        codes: bool = False,
        rescore: int | None = None,
        budget_us: int | None = None,
        rerank: bool = False,
        explain: bool = False,
    ) -> Found:
        """The nearest neighbours of one code, item, vector, text or picture (its bytes, or the path of a file).

        `images` are several pictures of one thing, which is searched by their mean. `offset` passes over the nearest neighbours. `rerank` orders
        hits of one distance by the real values behind the query's code, and `explain` says how the index was searched.
        """
        query: list[tuple[str, Any]] = [("k", k), ("radius", radius), ("rescore", rescore), ("budget_us", budget_us)]
        query += [("offset", offset or None), ("metadata", _flag(metadata)), ("codes", _flag(codes))]
        query += [("rerank", _flag(rerank)), ("explain", _flag(explain)), ("mean", _flag(images is not None))]
        query += _choice(label, filter)
        by = _given(code=code, id=id, text=text, vector=_numbers(vector))
        if (len(by) + (image is not None) + (images is not None)) != 1:
            raise ValueError("give one of code, id, vector, text, image and images")
        pictures = images if image is None else [image]
        kind, body = (_JSON, _json(by)) if pictures is None else _form([_content(one) for one in pictures])
        found = self._read("POST", "/v1/search", query, kind, body)
        known = {field: found.get(field) for field in Found._fields}
        return Found(**known | {"hits": [_hit(hit) for hit in found["hits"]]})

    def encode(
        self,
        *,
        vector: Iterable[SupportsFloat] | None = None,
        text: str | None = None,
        image: bytes | str | Path | None = None,
        values: bool = False,
    ) -> Coded:
        """The code of one vector, text or picture (its bytes, or the path of a file), and its real values if `values` asks for them."""
        by = _given(text=text, vector=_numbers(vector))
        if (len(by) + (image is not None)) != 1:
            raise ValueError("give one of vector, text and image")
        kind, body = (_JSON, _json(by)) if image is None else _form([_content(image)])
        made = self._read("POST", "/v1/encode", [("values", _flag(values))], kind, body)
        return Coded(made["code"], made.get("values"))

    def add(
        self,
        *,
        code: str | None = None,
        vector: Iterable[SupportsFloat] | None = None,
        label: str | Sequence[str] | None = None,
        id: int | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        upsert: bool = False,
    ) -> Item:
        """Adds an item by its code or vector. When this returns it is on disk, and is found."""
        fields = _given(code=code, label=label, id=id, external_id=external_id, metadata=metadata, vector=_numbers(vector))
        return _item(self._change("POST", "/v1/items", _upsert(upsert), _JSON, _json(fields)))

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
        fields += [] if metadata is None else [("metadata", _json(metadata).decode())]
        name = "" if isinstance(image, bytes) else Path(image).name
        kind, body = _form([_content(image)], name, fields)
        return _item(self._change("POST", "/v1/items", _upsert(upsert), kind, body))

    def add_many(self, items: Iterable[Mapping[str, Any]], *, upsert: bool = False, per_request: int = 10_000) -> Added:
        """Adds items as mappings with `code` or `vector`, and `label`, `id`, `external_id` and `metadata` if you like.

        They are sent in requests of at most `per_request` items, and of as many as the service's largest body holds. Each request is one
        change. Items that are refused leave the others be. A request without an answer is sent again, with an idempotency key, for which the
        service keeps a catalogue. Where a request fails, `ServiceError.added` says what the requests before it have added.
        """
        added = Added([], 0, 0, [])
        try:
            for lines in self._bodies(items, per_request):
                made = self._change_once("/v1/items/batch", _upsert(upsert), _LINES, b"\n".join(lines))
                added = _joined(added, made)
        except ServiceError as error:
            error.added = added
            raise
        return added

    def _bodies(self, items: Iterable[Mapping[str, Any]], per_request: int) -> Iterator[list[bytes]]:
        """The lines of each request. A line that is longer than a body may be goes alone, and is refused."""
        lines: list[bytes] = []
        size, most = 0, 0
        for item in items:
            vector = item.get("vector")
            line = _json(dict(item) if vector is None or isinstance(vector, str) else {**item, "vector": _numbers(vector)})
            most = most or int(self.info()["limits"]["body_bytes"])
            if lines and (len(lines) >= per_request or size + len(line) > most):
                yield lines
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1
        if lines:
            yield lines

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
        return _item(self._change("PUT", f"/v1/items/{int(id)}/metadata", (), _JSON, _json(dict(metadata))))

    def fields(self) -> dict[str, Any]:
        """The declared fields of the metadata, with their types and most frequent values."""
        return dict(self._read("GET", "/v1/fields")["fields"])

    def declare(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """Declares the fields that filters may name, each as `keyword`, `number` or `bool`, in the place of those before."""
        return dict(self._change("PUT", "/v1/fields", (), _JSON, _json({"fields": dict(fields)}))["fields"])

    def export(
        self,
        file: str | PathLike[str],
        *,
        format: str = "parquet",
        label: str | Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes items to a file: all, or those of some classes that pass a filter.

        `parquet` is a codes file for `dhih.read_codes` and for other programs; `ndjson` has a line for each item, as `add_many` takes them. The
        file is there once it is whole.
        """
        query = [("format", format), *_choice(label, filter)]
        partial = Path(f"{fspath(file)}.partial")
        connection = self._connect()
        try:
            response = self._answer_of_export(connection, query)
            with partial.open("wb") as out:
                while piece := self._piece(response):
                    out.write(piece)
            partial.replace(file)
        finally:
            connection.close()
            partial.unlink(missing_ok=True)

    def _answer_of_export(
        self, connection: http.client.HTTPConnection, query: Iterable[tuple[str, Any]]
    ) -> http.client.HTTPResponse:
        try:
            response = self._ask(connection, "GET", "/v1/items/export", query)
            refusal = None if response.status == 200 else response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unanswered(error) from error
        if refusal is not None:
            raise self._refused(response.status, refusal)
        return response

    def _piece(self, response: http.client.HTTPResponse) -> bytes:
        """The next bytes of an export: only what the network does wrong is laid to it."""
        try:
            return response.read(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(0, "no_answer", f"{self._url} was cut off: {error}") from error

    def collections(self) -> list[dict[str, Any]]:
        """The collections of the service that the key may read: name, items, bits and `search_by` of each."""
        return list(self._read("GET", "/v1/collections")["collections"])

    def make_collection(self, name: str, *, bits: int | None = None, like: str | None = None) -> dict[str, Any] | None:
        """Makes a collection of codes of so many bits, or one like another collection, which its model or codec is copied from.

        None where that takes long and goes on; `collections` lists it once it is there.
        """
        body = _json(_given(bits=bits, like=like))
        made: dict[str, Any] | None = self._change("PUT", f"/v1/collections/{quote(name, safe='')}", (), _JSON, body)
        return made

    def remove_collection(self, name: str) -> None:
        """Removes a collection with all its items and files. Where that takes long, it goes on after this has returned."""
        self._change("DELETE", f"/v1/collections/{quote(name, safe='')}")

    def snapshot(self, name: str | None = None) -> dict[str, Any]:
        """Makes a snapshot of index and catalogue, where the service was started with `--snapshot-dir`.

        Where that takes long, `done` is false, and it goes on.
        """
        made: dict[str, Any] = self._change("POST", "/v1/admin/snapshots", [("name", name)])
        return made

    def compact(self, *, forget: bool = False) -> dict[str, Any] | None:
        """Writes index and catalogue anew, so that nothing of deleted items is in the files: `bytes_before` and `bytes_after`.

        None where that takes long and goes on; until it has ended, another one is refused with `copy_under_way`.
        """
        sizes: dict[str, Any] | None = self._change("POST", "/v1/admin/compact", [("forget", _flag(forget))])
        return sizes

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
        return self._exchange(connection, method, path, query, kind, body, is_new=True)

    def _change(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, Any]] = (),
        kind: str = _JSON,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        connection = self._connect()
        try:
            return self._exchange(connection, method, path, query, kind, body, headers, is_new=True)
        finally:
            connection.close()

    def _change_once(self, path: str, query: Iterable[tuple[str, Any]], kind: str, body: bytes) -> Any:
        """A change that is sent again where no answer comes. Its idempotency key has the service make it only once."""
        headers = {"idempotency-key": uuid4().hex}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._change("POST", path, query, kind, body, headers)
            except ServiceError as error:
                if attempt == _ATTEMPTS or error.code not in ("no_answer", "idempotency_key_in_use"):
                    raise
                sleep(_PAUSE)

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
        headers: Mapping[str, str] | None = None,
        is_new: bool = False,
    ) -> Any:
        """Sends a request and reads its answer. A connection that is not new may have been closed by the service: `_CLOSED` says so."""
        try:
            response = self._ask(connection, method, path, query, kind, body, headers)
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            if not is_new and isinstance(error, _CLOSED):
                raise
            connection.close()
            raise self._unanswered(error) from error
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
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        text = urlencode([(name, value) for name, value in query if value is not None], quote_via=quote)
        # What is about the collections is of none of them.
        if not path.startswith("/v1/collections"):
            path = self._api + path.removeprefix("/v1")
        all_headers = self._headers | ({"content-type": kind} if body is not None else {}) | dict(headers or {})
        connection.request(method, self._prefix + path + ("?" + text if text else ""), body, all_headers)
        return connection.getresponse()

    def _unanswered(self, error: Exception) -> ServiceError:
        return ServiceError(0, "no_answer", f"{self._url} does not answer: {error}")

    def _refused(self, status: int, answer: bytes) -> ServiceError:
        try:
            refusal = json.loads(answer)["error"]
            code, message = str(refusal["code"]), str(refusal["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "no_json", f"{self._url} answered {status} without saying why"
        return ServiceError(status, code, message)


def _json(value: Any) -> bytes:
    """JSON, in which numbers and arrays of numpy are as those of Python."""

    def plain(of_numpy: Any) -> Any:
        if hasattr(of_numpy, "tolist"):
            return of_numpy.tolist()
        raise TypeError(f"{of_numpy!r} cannot be sent as JSON")

    return json.dumps(value, default=plain).encode()


def _numbers(vector: Iterable[SupportsFloat] | None) -> list[float] | None:
    return None if vector is None else [float(number) for number in vector]


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _flag(wanted: bool) -> str | None:
    return "true" if wanted else None


def _joined(before: Added, made: Mapping[str, Any]) -> Added:
    """What became of the items so far, with the answer to another request."""
    first = len(before.ids)
    refused = [
        Refused(first + failed["line"] - 1, failed["error"]["code"], failed["error"]["message"]) for failed in made["failed"]
    ]
    return Added(
        before.ids + made["ids"],
        before.added + made["added"],
        before.replaced + made["replaced"],
        before.refused + refused,
    )


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


def _content(image: bytes | str | Path) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _form(images: Sequence[bytes], name: str = "", fields: Iterable[tuple[str, str]] = ()) -> tuple[str, bytes]:
    """The media type and the body of a form with pictures."""
    edge = "dhih"
    while any(edge.encode() in image for image in images):
        edge += "-"
    # Of the characters that would end the name.
    name = "".join("_" if c in '"\r\n\\' else c for c in name)
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    parts: list[bytes] = []
    for image in images:
        parts += [head.encode(), image, b"\r\n"]
    for field, text in fields:
        parts.append(f'--{edge}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'.encode())
    return f"multipart/form-data; boundary={edge}", b"".join([*parts, f"--{edge}--\r\n".encode()])
