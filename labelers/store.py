"""The sample store: every finished sample, committed as it arrives, under a key of everything that it depends on.

Kill a run at any point and start it again: what is in the store is not drawn a second time. Runs, methods and
processes may share one store; two requests with equal keys are the same sample. Failures are not kept.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from datasets_cards.canonical import canonical_json
from datasets_cards.errors import InputError, StorageError
from labelers.engines.protocol import Completion, ModelIdentity, SampleRequest

KEY_SCHEMA = 1
FILE_SCHEMA = 2
WAIT_SECONDS = 120.0
"""How long another writer is waited for."""
APPLICATION_ID = 0x45435353  # "ECSS", in the file's header: tells a sample store from any other SQLite file
_TABLE = """
CREATE TABLE IF NOT EXISTS samples (
    key BLOB PRIMARY KEY, row_id TEXT NOT NULL, text TEXT NOT NULL, token_ids BLOB NOT NULL,
    finish_reason TEXT NOT NULL, logprob REAL, behavior_logprob REAL, token_count INTEGER,
    times_drawn INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID
"""
_VALUES = "CREATE TABLE IF NOT EXISTS numbers (key BLOB PRIMARY KEY, value REAL NOT NULL) STRICT, WITHOUT ROWID"
_SPEEDS = """
CREATE TABLE IF NOT EXISTS speeds (
    model BLOB PRIMARY KEY, samples INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL
) STRICT, WITHOUT ROWID
"""
# A sample drawn twice (two processes at once) keeps its first values: later readers must see what earlier ones saw.
_INSERT = """
INSERT INTO samples (key, row_id, text, token_ids, finish_reason, logprob, behavior_logprob, token_count)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET times_drawn = times_drawn + 1
"""


def request_key(identity: ModelIdentity, request: SampleRequest, prompt_digest: str) -> bytes:
    """What a sample is stored under: 16 bytes of the SHA-256 of canonical JSON of all that it depends on.

    Batch size, concurrency and timeouts are left out: they change no sample; nor do seed and index where nothing is
    drawn. A sampling parameter that is added later enters only where it isn't at its default, so that the keys of
    today stay.
    """
    sampling = request.sampling
    drawn = sampling.temperature > 0
    named = {
        "schema": KEY_SCHEMA,
        **asdict(identity),
        "prompt": prompt_digest,
        "temperature": float(sampling.temperature),
        "top_p": float(sampling.top_p),
        "max_new_tokens": sampling.max_new_tokens,
        "seed": request.seed if drawn else 0,
        "index": request.index if drawn else 0,
        **({"beams": sampling.beams} if sampling.beams > 1 else {}),
    }
    return hashlib.sha256(canonical_json(named)).digest()[:16]


def value_key(kind: str, name: object) -> bytes:
    """What a number is stored under: 16 bytes of the SHA-256 of what it is and of all that it depends on."""
    return hashlib.sha256(canonical_json({"schema": KEY_SCHEMA, "kind": kind, "of": name})).digest()[:16]


class SampleStore:
    """A SQLite file of samples; several processes may use it at once.

    Args:
        path: the file, made if it isn't there; `:memory:` keeps nothing.

    Attributes:
        drawn: samples put in by this object.
        reused: samples found by this object.

    Raises:
        StorageError: the file can't be opened or written, or is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.drawn = self.reused = 0
        with self._errors():
            if self.path != ":memory:":
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: transactions are begun by hand, where they are meant. Another writer is waited for.
            self._db = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        if not self._known():
            # Another process may be making it at this moment: the lock is waited for, and the question asked again.
            with self._transaction():
                if not self._known():
                    if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        raise StorageError(
                            "an SQLite file, but not a sample store", where=self.path, remedy="Name another file"
                        )
                    for table in (_TABLE, _VALUES, _SPEEDS):
                        self._db.execute(table)
                    self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {FILE_SCHEMA}")
        schema = self._db.execute("PRAGMA user_version").fetchone()[0]
        if schema > FILE_SCHEMA:
            raise StorageError("written by a later Echoset", where=self.path, remedy="Upgrade echoset")
        if schema < FILE_SCHEMA:
            raise StorageError("written by an earlier Echoset", where=self.path, remedy="Name another file")
        # WAL with NORMAL: a killed process loses nothing that was committed.
        self._use_wal()
        self._db.execute("PRAGMA synchronous = NORMAL")

    def _known(self) -> bool:
        return self._db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID

    def _use_wal(self) -> None:
        """Switch to WAL; SQLite doesn't wait for other processes here, as it does elsewhere."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def get_many(self, keys: Sequence[bytes], *, again: bool = False) -> dict[bytes, Completion]:
        """The samples that are there, by key; `again` for those that this object has just put in."""
        found: dict[bytes, Completion] = {}
        with self._errors():
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                query = (
                    "SELECT key, text, token_ids, finish_reason, logprob, behavior_logprob, token_count FROM samples "
                    f"WHERE key IN ({','.join('?' * len(some))})"
                )
                for key, text, token_ids, *rest, count in self._db.execute(query, some):
                    found[key] = Completion(text, array("i", token_ids).tolist(), *rest, token_count=count)
        self.reused += 0 if again else len(found)
        return found

    def put_many(self, samples: Iterable[tuple[bytes, str, Completion]]) -> None:
        """Commit finished samples, given as (key, row id, completion), in one transaction.

        Raises:
            InputError: a completion is a failure; those are tried again, not kept.
            StorageError: the file can't be written; what was committed before stays.
        """
        records = []
        for key, row_id, c in samples:
            if c.finish_reason == "error":
                raise InputError("a failed sample can't be stored", where=row_id)
            tokens = array("i", c.token_ids).tobytes()
            records.append((key, row_id, c.text, tokens, c.finish_reason, c.logprob, c.behavior_logprob, c.token_count))
        with self._errors(), self._transaction():
            self._db.executemany(_INSERT, records)
        self.drawn += len(records)

    def get_values(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The numbers that are there, by key."""
        found: dict[bytes, float] = {}
        with self._errors():
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                query = f"SELECT key, value FROM numbers WHERE key IN ({','.join('?' * len(some))})"
                found.update(self._db.execute(query, some))
        return found

    def put_values(self, values: Mapping[bytes, float]) -> None:
        """Commit computed numbers; one that is there already stays.

        Raises:
            StorageError: the file can't be written.
        """
        with self._errors(), self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO numbers VALUES (?, ?)", values.items())

    def add_speed(self, identity: ModelIdentity, samples: int, tokens: int, seconds: float) -> None:
        """Note how long drawing took, for later estimates.

        Raises:
            StorageError: the file can't be written.
        """
        with self._errors(), self._transaction():
            self._db.execute(
                "INSERT INTO speeds VALUES (?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET samples = samples + "
                "excluded.samples, tokens = tokens + excluded.tokens, seconds = seconds + excluded.seconds",
                (value_key("speed", asdict(identity)), samples, tokens, seconds),
            )

    def seconds_a_sample(self, identity: ModelIdentity) -> float | None:
        """What a sample of this model has taken on average, or None where none was ever drawn into this store."""
        key = value_key("speed", asdict(identity))
        with self._errors():
            found = self._db.execute("SELECT samples, seconds FROM speeds WHERE model = ?", (key,)).fetchone()
        return found[1] / found[0] if found and found[0] else None

    def __len__(self) -> int:
        with self._errors():
            return self._db.execute("SELECT count(*) FROM samples").fetchone()[0]

    def drawn_again(self) -> int:
        """How often, over the life of the file, a sample was drawn that was already there."""
        with self._errors():
            return self._db.execute("SELECT coalesce(sum(times_drawn - 1), 0) FROM samples").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors and the system's, as one line that says what to do."""
        try:
            yield
        except StorageError:
            raise
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"the sample store fails ({error})", where=self.path, remedy=_remedy(str(error))
            ) from error
        except OSError as error:
            reason = error.strerror or os.strerror(error.errno or 0)
            raise StorageError(
                f"the sample store can't be made ({reason})", where=self.path, remedy="Name a place that can be written"
            ) from error


def _remedy(problem: str) -> str:
    if "full" in problem or "disk I/O" in problem:
        return "Free some space and run again: what was committed is kept"
    if "not a database" in problem or "malformed" in problem:
        return "Name another file, or remove this one to draw its samples again"
    if "locked" in problem:
        return "Another process holds it; run again when that one is done"
    return "Name a place that can be written"
