"""The client: NumPy arrays in and out, by Arrow where pyarrow is installed, else by JSON.

    client = Client("http://127.0.0.1:8470", token=..., workload="retrieval")
    books = client.create("books", dim=384)
    books.upsert(ids, vectors, texts=texts, metadata=metadata)
    hits = books.search(queries, k=10)[0]

Every call may be repeated, and is, where a connection breaks or a replica is being moved.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import TieredRetrievalError
from .service import arrow

#: Answers after which the same request may well succeed.
AGAIN = frozenset({429, 502, 503, 504})
#: Of one request with vectors; the gateway takes 64 MiB.
BATCH_BYTES = 8 << 20
Id = str | int


class RequestRefused(TieredRetrievalError):
    """The service refused a request: its own words.

    Attributes:
        status: of HTTP; 0: nobody answered.
        kind: the service's word for what is wrong.
    """

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True, slots=True)
class Hit:
    """One result.

    Attributes:
        id: of the document.
        distance: smaller is nearer; of a search in words or hybrid: minus the score.
        text, metadata: where asked for.
        vector: where asked for, [dim].
    """

    id: Id
    distance: float
    text: str | None = None
    metadata: dict[str, Any] | None = None
    vector: NDArray | None = None


@dataclass(frozen=True, slots=True)
class Results(Sequence[list[Hit]]):
    """Of each query its hits, the nearest first.

    Attributes:
        hits: one list a query.
        complete: False: a shard or a part of the tier did not answer, and what it holds is missing.
        missing: the shards that did not answer.
        reads, round_trips, tier_bytes: of all queries together.
    """

    hits: list[list[Hit]]
    complete: bool = True
    missing: tuple[int, ...] = ()
    reads: int = 0
    round_trips: int = 0
    tier_bytes: int = 0

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, index: Any) -> Any:
        return self.hits[index]

    def __iter__(self) -> Iterator[list[Hit]]:
        return iter(self.hits)

    def ids(self) -> list[list[Id]]:
        """The ids alone."""
        return [[hit.id for hit in row] for row in self.hits]


@dataclass(slots=True)
class Retries:
    """How often a request is repeated; waits double and are drawn, so that clients do not come back at once."""

    attempts: int = 6
    first_s: float = 0.1
    most_s: float = 5.0
    random: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, asked_s: float = 0.0) -> None:
        """Wait before the attempt after this one."""
        longest = min(self.most_s, self.first_s * 2**attempt)
        self.sleep(max(asked_s, longest * (0.5 + 0.5 * self.random.random())))


class Client:
    """Speaks to a retrieval workload through the gateway, or to a service directly.

    Args:
        url: of the gateway, or of a service.
        token: for the gateway.
        workload: its name; None: `url` is a service.
        timeout_s: of one request.
        retries: of requests that fail.
        transport: of httpx, for tests and applications in the same process.
        binary: Arrow rather than JSON; default: where pyarrow is installed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        workload: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        binary: bool | None = None,
    ) -> None:
        base = url.rstrip("/") + (f"/workloads/{quote(workload, safe='')}" if workload else "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=base, headers=headers, timeout=timeout_s, transport=transport)
        self._retries = retries or Retries()
        self.binary = _has_arrow() if binary is None else binary

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def collections(self) -> list[dict[str, Any]]:
        """What the service says of each collection."""
        return self.call("GET", "/collections")["collections"]

    def create(self, name: str, **given: Any) -> CollectionClient:
        """Create a collection, or find that it is there with the same space: dim, element, metric."""
        self.call("PUT", _path(name), {key: value for key, value in given.items() if value is not None})
        return self.collection(name)

    def collection(self, name: str) -> CollectionClient:
        """A collection by name; nothing is asked."""
        return CollectionClient(self, name)

    def drop(self, name: str) -> None:
        """Delete a collection and all that is in it."""
        self.call("DELETE", _path(name))

    def tiers(self) -> dict[str, Any]:
        """Where vectors may lie, and where they lie now."""
        return self.call("GET", "/tiers")

    def stats(self) -> dict[str, Any]:
        """Of the instance that answers."""
        return self.call("GET", "/stats")

    def call(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> Any:
        """Send JSON and return the JSON answer; raises RequestRefused."""
        content = None if body is None else json.dumps(body).encode()
        return self.send(method, path, content, "application/json", timeout_s).json()

    def send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        content_type: str,
        timeout_s: float | None = None,
        accept: str = "application/json",
    ) -> httpx.Response:
        """Send a request, again and again where that may help; raises RequestRefused."""
        headers = {"Idempotency-Key": uuid.uuid4().hex, "Accept": accept}
        if content is not None:
            headers["Content-Type"] = content_type
        timeout: Any = httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s
        for attempt in range(self._retries.attempts):
            last = attempt + 1 == self._retries.attempts
            try:
                answer = self._http.request(method, path, content=content, headers=headers, timeout=timeout)
            except httpx.TransportError as error:
                if last:
                    raise RequestRefused(0, f"{self._http.base_url}: {type(error).__name__} {error}".strip()) from None
                self._retries.wait(attempt)
                continue
            if answer.status_code < 400:
                return answer
            if answer.status_code not in AGAIN or last:
                raise _refused(answer)
            self._retries.wait(attempt, _retry_after(answer))
        raise AssertionError("unreachable")


class CollectionClient:
    """One collection."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name

    def upsert(
        self,
        ids: Sequence[Id],
        vectors: ArrayLike | None = None,
        *,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[dict[str, Any] | None] | None = None,
        batch: int | None = None,
        told: Callable[[int], None] = lambda done: None,
    ) -> int:
        """Add documents or replace them, in batches; returns how many.

        Args:
            ids: texts or whole numbers, each once.
            vectors: [n, dim]; None: the service makes them of the texts.
            texts: to search by words, and to return.
            metadata: an object each, to filter by.
            batch: documents in a request; default: 8 MiB of them.
            told: how many were taken, after each batch.
        """
        rows = None if vectors is None else np.asarray(vectors)
        size = batch or _batch(rows)
        for start in range(0, len(ids), size):
            part = slice(start, start + size)
            self._upsert(
                list(ids[part]),
                None if rows is None else rows[part],
                None if texts is None else list(texts[part]),
                None if metadata is None else list(metadata[part]),
            )
            told(min(size, len(ids) - start))
        return len(ids)

    def delete(self, ids: Sequence[Id] | None = None, *, filter: Any = None) -> int:
        """Delete by ids or by a filter; returns how many were there."""
        given = {"filter": filter} if ids is None else {"ids": list(ids)}
        return self._call("/delete", given)["deleted"]

    def get(self, ids: Sequence[Id], *, vectors: bool = False) -> list[dict[str, Any] | None]:
        """Documents by id, in their order; None for those that are not there."""
        found = self._call("/get", {"ids": list(ids), "vectors": vectors})["documents"]
        if vectors:
            for document in filter(None, found):
                document["vector"] = np.asarray(document["vector"])
        return found

    def search(
        self,
        vectors: ArrayLike | None = None,
        *,
        texts: Sequence[str] | str | None = None,
        k: int = 10,
        mode: str | None = None,
        filter: Any = None,
        recall: float | None = None,
        include: Sequence[str] = ("text", "metadata"),
    ) -> Results:
        """Search for vectors, texts or both; see the service's /openapi.json for what each means."""
        options: dict[str, Any] = {"k": k, "mode": mode, "filter": filter, "recall": recall, "include": list(include)}
        options = {name: value for name, value in options.items() if value is not None}
        rows = None if vectors is None else np.atleast_2d(np.asarray(vectors))
        words = [texts] if isinstance(texts, str) else None if texts is None else list(texts)
        if self._client.binary:
            return self._search_arrow(rows, words, options)
        given = {"vectors": None if rows is None else rows.tolist(), "texts": words, **options}
        return _results(self._call("/search", {name: value for name, value in given.items() if value is not None}))

    def info(self) -> dict[str, Any]:
        """Its size, where its vectors lie, its index."""
        return self._client.call("GET", _path(self.name))

    def recall(self, sample: int = 100, k: int = 10, of: str = "vectors") -> dict[str, Any]:
        """Compare searches with exact ones on a sample of its vectors, or of the ``queries`` that came of late."""
        return self._call("/recall", {"sample": sample, "k": k, "of": of}, timeout_s=600)

    def calibrate(self, vectors: ArrayLike | None = None) -> dict[str, Any]:
        """Measure anew what effort a recall takes, by queries [n, columns] (None: those that came of late).

        Returns:
            ``before`` and ``after``: recall as half of the queries show it, which the index was not measured by.
        """
        rows = None if vectors is None else np.atleast_2d(np.asarray(vectors)).tolist()
        return self._call("/calibrate", {} if rows is None else {"vectors": rows}, timeout_s=3600)

    def move(self, tier: str, url: str | None = None, index: str | None = None) -> dict[str, Any]:
        """Move its vectors to another tier; searches go on. Returns what was moved.

        Args:
            tier: dram, file or memory.
            url: of a memory node's region.
            index: graph or lists, in a lower tier; None: the one there, else as the tier suggests.
        """
        more = {name: value for name, value in (("url", url), ("index", index)) if value}
        return self._call("/move", {"tier": tier, **more}, timeout_s=3600)

    def snapshot(self, name: str | None = None) -> dict[str, Any]:
        """Write a consistent copy on the service's node."""
        return self._call("/snapshot", {"name": name} if name else {}, timeout_s=3600)

    def restore(self, snapshot: str, into: str) -> dict[str, Any]:
        """Make a new collection of a snapshot of this one; says what the new one is."""
        return self._call("/restore", {"snapshot": snapshot, "into": into}, timeout_s=3600)

    def maintain(self, budget_s: float = 1.0) -> dict[str, Any]:
        """Work on what updates have left behind; says what is left."""
        return self._call("/maintain", {"budget_s": budget_s}, timeout_s=budget_s + 60)

    def _call(self, below: str, body: Any, timeout_s: float | None = None) -> Any:
        return self._client.call("POST", _path(self.name, below), body, timeout_s)

    def _upsert(self, ids: list[Id], vectors: Any, texts: Any, metadata: Any) -> None:
        if not self._client.binary or vectors is None:
            given = {"ids": ids, "vectors": None if vectors is None else vectors.tolist()}
            given.update({"texts": texts, "metadata": metadata})
            self._call("/upsert", {name: value for name, value in given.items() if value is not None})
            return
        columns: dict[str, Any] = {"id": arrow.id_column(ids), "vector": arrow.vector_column(vectors)}
        if texts is not None:
            columns["text"] = arrow.installed().array(texts, arrow.installed().string())
        if metadata is not None:
            columns["metadata"] = arrow.json_column(metadata)
        content = arrow.write_table(columns)
        self._client.send("POST", _path(self.name, "/upsert"), content, arrow.CONTENT_TYPE)

    def _search_arrow(self, rows: NDArray | None, words: list[str] | None, options: dict[str, Any]) -> Results:
        columns: dict[str, Any] = {}
        if rows is not None:
            columns["vector"] = arrow.vector_column(rows)
        if words is not None:
            columns["text"] = words
        asked = {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}
        path = f"{_path(self.name, '/search')}?{urlencode(asked)}"
        content = arrow.write_table(columns)
        answer = self._client.send("POST", path, content, arrow.CONTENT_TYPE, accept=arrow.CONTENT_TYPE)
        return _table_results(arrow.read_table(answer.content), len(rows if rows is not None else words or ()))


def _has_arrow() -> bool:
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def _path(name: str, below: str = "") -> str:
    return f"/collections/{quote(name, safe='')}{below}"


def _batch(rows: NDArray | None) -> int:
    if rows is None or not len(rows):
        return 256
    return max(1, min(10_000, BATCH_BYTES // max(1, rows[0].nbytes)))


def _refused(answer: httpx.Response) -> RequestRefused:
    try:
        body = answer.json()
        said = body.get("error", body.get("detail", ""))
    except ValueError:
        said = answer.text[:200]
    if isinstance(said, dict):
        return RequestRefused(answer.status_code, said.get("message", ""), said.get("type", ""))
    return RequestRefused(answer.status_code, str(said) or f"{answer.url} answered {answer.status_code}")


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(5.0, float(answer.headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0


def _results(body: dict[str, Any]) -> Results:
    hits = [[_hit(hit) for hit in row] for row in body["results"]]
    return Results(hits, body["complete"], tuple(body["missing"]), *(body[name] for name in _COUNTS))


_COUNTS = ("reads", "round_trips", "tier_bytes")


def _hit(fields: dict[str, Any]) -> Hit:
    vector = fields.get("vector")
    return Hit(**{**fields, "vector": None if vector is None else np.asarray(vector)})


def _table_results(table: Any, queries: int) -> Results:
    about = json.loads(table.schema.metadata[b"fairlead"])
    columns = {name: table.column(name).to_pylist() for name in table.column_names if name != "vector"}
    columns["id"] = arrow.ids_of(table.column("id"))
    rows = arrow.vectors_of(table.column("vector")) if "vector" in table.column_names and table.num_rows else None
    hits: list[list[Hit]] = [[] for _ in range(queries)]
    for index, query in enumerate(columns.pop("query")):
        fields = {name: values[index] for name, values in columns.items()}
        if fields.get("metadata") is not None:
            fields["metadata"] = json.loads(fields["metadata"])
        hits[query].append(Hit(**fields, vector=None if rows is None else rows[index]))
    return Results(hits, about["complete"], tuple(about["missing"]), *(about[name] for name in _COUNTS))
