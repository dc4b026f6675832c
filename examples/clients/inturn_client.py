"""A client for senders of events in Python 3.9 or later, with the standard library alone. Copy this file.

    from inturn_client import Client, Event

    client = Client("http://127.0.0.1:8000", api_key="itn_...")
    stored = client.send(Event("a1", {"amount": 12}, type="payment.made"))
    print(stored.seq)

It sends as the TypeScript client does. Events go out in the order in which they are handed in, one request at a time, up to 500 events
and a megabyte. Each has an id before its first try, and a request without a good answer is repeated with the same ids: stored once.
`Retry-After` is honoured; otherwise it waits twice as long each time, with jitter; after a minute it gives up. When an event is
refused or given up, later ones of its account are not sent: they would overtake it.

Threads may share a client: one of them sends at a time.
"""

from __future__ import annotations

import dataclasses
import email.utils
import http.client
import json
import random
import threading
import time
import urllib.parse
import uuid
from typing import Any, Iterable, Optional, Sequence, Union

EVENTS_MAX = 500
BATCH_LENGTH_MAX = 1_000_000

# Answers after which the same request may succeed; 0 stands for none.
WORTH_REPEATING = frozenset({0, 408, 425, 429, 500, 502, 503, 504})

BACKOFF_SECONDS = {"first": 0.1, "most": 5.0}
RETRY_AFTER_SECONDS_MAX = 30.0


@dataclasses.dataclass(frozen=True)
class Event:
    """An event to send. `data` is any value that JSON has; `time` is RFC 3339 with a zone."""

    account_id: str = dataclasses.field(metadata={"json": "accountId"})
    data: Any = dataclasses.field(metadata={"json": "data"})
    type: Optional[str] = dataclasses.field(default=None, metadata={"json": "type"})
    id: Optional[str] = dataclasses.field(default=None, metadata={"json": "id"})
    time: Optional[str] = dataclasses.field(default=None, metadata={"json": "time"})
    expected_seq: Optional[int] = dataclasses.field(default=None, metadata={"json": "expectedSeq"})
    traceparent: Optional[str] = dataclasses.field(default=None, metadata={"json": "traceparent"})
    tracestate: Optional[str] = dataclasses.field(default=None, metadata={"json": "tracestate"})

    def to_json(self) -> str:
        fields = {field.metadata["json"]: getattr(self, field.name) for field in dataclasses.fields(self)}
        given = {name: value for name, value in fields.items() if value is not None or name == "data"}
        # Its id is made before the first try, so that a repetition is known for one.
        given.setdefault("id", str(uuid.uuid4()))
        # What JSON does not have, such as NaN, is refused here.
        return json.dumps(given, ensure_ascii=False, allow_nan=False)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where an event is stored. With `duplicate`, `seq` is that of the first copy."""

    account_id: str = dataclasses.field(metadata={"json": "accountId"})
    seq: int = dataclasses.field(metadata={"json": "seq"})
    duplicate: bool = dataclasses.field(metadata={"json": "duplicate"})


class SendError(Exception):
    """An event that was not sent, or is not known to be.

    `code` is that of the server's problem document, or `outcome_unknown` (no answer came: the event may be stored, send it again with
    its id), `unavailable` (it is not stored), or `predecessor_failed` (an earlier event of its account was not stored, so this one was
    not sent). `status` is 0 when no answer came.
    """

    def __init__(self, code: str, message: str, status: int = 0, problem: Optional[dict] = None):
        super().__init__(f"{message} [{code}]")
        self.code = code
        self.status = status
        self.problem = problem


Outcome = Union[Stored, SendError]


@dataclasses.dataclass(frozen=True)
class _Answer:
    status: int
    document: Any
    retry_after: Optional[float]
    cause: Optional[BaseException] = None


class Client:
    """Sends events, in order. `give_up_seconds` bounds the tries of one request, `answer_seconds_max` the wait for one answer."""

    def __init__(
        self,
        url: str,
        api_key: Optional[str] = None,
        *,
        batch_events_max: int = EVENTS_MAX,
        give_up_seconds: float = 60.0,
        answer_seconds_max: float = 30.0,
    ):
        self._url = urllib.parse.urlsplit(url.rstrip("/") + "/v1/events")
        if self._url.scheme not in ("http", "https") or self._url.hostname is None:
            raise ValueError(f"the url must begin with http:// or https://, and {url!r} does not")
        self._headers = {"content-type": "application/json"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._batch_events_max = batch_events_max
        self._give_up_seconds = give_up_seconds
        self._answer_seconds_max = answer_seconds_max
        self._lock = threading.Lock()
        self._connection: Optional[http.client.HTTPConnection] = None

    def send(self, event: Event) -> Stored:
        """Sends an event; returns when it is stored. Raises SendError."""
        return self.send_all([event])[0]

    def send_all(self, events: Iterable[Event]) -> list[Stored]:
        """Sends events in this order. Raises the first SendError; others may be stored."""
        outcomes = self.send_each(events)
        for outcome in outcomes:
            if isinstance(outcome, SendError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Stored)]

    def send_each(self, events: Iterable[Event]) -> list[Outcome]:
        """Sends events in this order, and returns for each where it is stored, or why it is not."""
        texts = [(event.account_id, event.to_json()) for event in events]
        outcomes: list[Optional[Outcome]] = [None] * len(texts)
        waiting = list(range(len(texts)))
        with self._lock:
            while waiting:
                batch = self._take_batch(waiting, texts)
                answer = self._exchange([texts[i][1] for i in batch])
                if isinstance(answer, list):
                    for i, stored in zip(batch, answer):
                        outcomes[i] = stored
                    waiting = waiting[len(batch) :]
                elif isinstance(answer, int):
                    # The server takes fewer at a time.
                    self._batch_events_max = answer
                else:
                    error, index = answer
                    waiting = self._refuse(waiting, batch, texts, outcomes, error, index)
        return [outcome for outcome in outcomes if outcome is not None]

    def close(self) -> None:
        """Closes the connection; the next event opens another one."""
        with self._lock:
            self._drop_connection()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_batch(self, waiting: Sequence[int], texts: Sequence[tuple[str, str]]) -> list[int]:
        batch: list[int] = []
        length = 0
        for i in waiting:
            length += len(texts[i][1])
            if batch and (len(batch) >= self._batch_events_max or length > BATCH_LENGTH_MAX):
                break
            batch.append(i)
        return batch

    def _refuse(
        self,
        waiting: Sequence[int],
        batch: Sequence[int],
        texts: Sequence[tuple[str, str]],
        outcomes: list[Optional[Outcome]],
        error: SendError,
        index: Optional[int],
    ) -> list[int]:
        """A request is stored whole or not at all: who is not at fault goes again, but for who would overtake one that is."""
        refused = list(batch) if index is None else [batch[index]]
        for i in refused:
            outcomes[i] = error
        accounts = {texts[i][0] for i in refused}
        rest = []
        for i in waiting:
            if i in refused:
                continue
            if i > refused[0] and texts[i][0] in accounts:
                message = "an earlier event of this account was not stored, and this one must not overtake it"
                outcomes[i] = SendError("predecessor_failed", message, error.status, error.problem)
            else:
                rest.append(i)
        return rest

    def _exchange(self, texts: Sequence[str]) -> Union[list[Stored], int, tuple[SendError, Optional[int]]]:
        """One request, repeated until it is answered for good: its events, how many it may have at most, or why it was not stored."""
        body = f"[{','.join(texts)}]".encode()
        give_up_at = time.monotonic() + self._give_up_seconds
        is_unknown = False
        tries = 0
        while True:
            answer = self._post(body)
            document = answer.document if isinstance(answer.document, dict) else {}
            if answer.status == 202 and isinstance(document.get("events"), list):
                return [Stored(one["accountId"], one["seq"], one["duplicate"]) for one in document["events"]]
            if answer.status not in WORTH_REPEATING:
                return _to_refusal(answer, document)
            limit = document.get("limit") if answer.status == 429 else None
            if isinstance(limit, int) and 1 <= limit < len(texts):
                return limit
            # Only an answer says that nothing was stored; and an earlier try without one may still have been.
            is_unknown = is_unknown or answer.status == 0 or answer.status >= 500
            wait = answer.retry_after if answer.retry_after is not None else _backoff(tries)
            if time.monotonic() + wait > give_up_at:
                return _to_given_up(answer, document, is_unknown), None
            time.sleep(wait)
            tries += 1

    def _post(self, body: bytes) -> _Answer:
        try:
            if self._connection is None:
                https = self._url.scheme == "https"
                make = http.client.HTTPSConnection if https else http.client.HTTPConnection
                self._connection = make(self._url.netloc.rpartition("@")[2], timeout=self._answer_seconds_max)
            self._connection.request("POST", self._url.path, body, self._headers)
            response = self._connection.getresponse()
            text = response.read()
            if response.will_close:
                self._drop_connection()
            return _Answer(response.status, _parse(text), _retry_after(response.headers.get("retry-after")))
        except (OSError, http.client.HTTPException) as cause:
            # Also a connection that was closed while it was idle: the next try opens another one.
            self._drop_connection()
            return _Answer(0, None, None, cause)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _retry_after(header: Optional[str]) -> Optional[float]:
    """Seconds, or a date."""
    if header is None:
        return None
    if header.isdigit():
        seconds = float(header)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _backoff(tries: int) -> float:
    return min(BACKOFF_SECONDS["first"] * 2 ** min(tries, 10), BACKOFF_SECONDS["most"]) * (0.5 + random.random() / 2)


def _to_refusal(answer: _Answer, problem: dict) -> tuple[SendError, Optional[int]]:
    code = problem.get("code") if isinstance(problem.get("code"), str) else f"status_{answer.status}"
    detail = problem.get("detail") if isinstance(problem.get("detail"), str) else f"the server answered {answer.status}"
    return SendError(code, detail, answer.status, problem or None), _index_at_fault(problem)


def _index_at_fault(problem: dict) -> Optional[int]:
    """The event at fault, when all that is at fault is in one."""
    errors = problem.get("errors") or [{}]
    head, _, _ = str(errors[0].get("pointer", "")).removeprefix("/").partition("/")
    return int(head) if head.isdigit() else None


def _to_given_up(answer: _Answer, problem: dict, is_unknown: bool) -> SendError:
    if is_unknown:
        message = "no answer says whether the event is stored; send it again with its id"
        error = SendError("outcome_unknown", message, answer.status, problem or None)
    else:
        message = "the server has been unavailable for too long; the event is not stored"
        error = SendError("unavailable", message, answer.status, problem or None)
    error.__cause__ = answer.cause
    return error
