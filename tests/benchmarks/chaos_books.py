"""What a chaos run left behind, read from the server's log, the response store and the round records."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.types import QAPair, Usage

# An answer that was given longer ago than this is not in flight: it had to be in the store.
IN_FLIGHT_S = 2.0


@dataclass
class ServerBooks:
    """The server's log.

    Args:
        faults (`Counter`): Requests about documents by what happened to them; `"none"` for no fault.
        whole (`Counter`): How often each request was answered whole.
        digests (`dict[str, str]`): The digest of each answer's text.
        tokens (`dict[str, tuple[int, int]]`): Prompt and completion tokens of each answer.
        answered_unix_s (`dict[str, list[float]]`): When it was given.
    """

    faults: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    answered_unix_s: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ServerBooks:
        books = cls()
        for line in path.read_text(encoding="ascii").splitlines():
            what, key, *rest = line.split()
            if what == "seen":
                books.faults[rest[0]] += 1
            else:
                books.whole[key] += 1
                books.digests[key], books.tokens[key] = rest[0], (int(rest[1]), int(rest[2]))
                books.answered_unix_s.setdefault(key, []).append(float(rest[3]))
        return books

    @property
    def used(self) -> Usage:
        """Tokens of all answers, each once."""
        prompt, completion = zip(*self.tokens.values(), strict=True) if self.tokens else ((), ())
        return Usage(sum(prompt), sum(completion), len(self.tokens))


@dataclass
class Excuses:
    """Answers that could not come into the store, so that they are paid for again.

    Args:
        paid (`Counter`): By request, how many answers were lost to kills.
        by_kill (`list[int]`): How many requests each kill excused.
        late (`Counter`): By request, how many answers came when the client had stopped waiting.
    """

    paid: Counter[str] = field(default_factory=Counter)
    by_kill: list[int] = field(default_factory=list)
    late: Counter[str] = field(default_factory=Counter)

    def at_kill(self, server: ServerBooks, stored: set[str], killed_unix_s: float) -> None:
        """Excuse what the server had just answered whole and the store does not hold."""
        just = (key for key, times in server.answered_unix_s.items() if times[-1] > killed_unix_s - IN_FLIGHT_S)
        lost = [key for key in just if server.digests[key] not in stored]
        self.by_kill.append(sum(self.paid[key] < server.whole[key] for key in lost))
        self.paid |= {key: server.whole[key] for key in lost}

    def at_end(self, server: ServerBooks, store: Path, timeout_s: float) -> None:
        """Excuse answers beyond the client's timeout: a machine that stalls for seconds stalls both sides.

        The ledger says when each attempt was sent, and whether the client saw an answer to it.
        """
        with closing(sqlite3.connect(store)) as connection:
            keys = {text_digest(text): key for key, text in connection.execute("SELECT key, text FROM responses")}
            query = (
                "SELECT sent_unix_s, state FROM attempts WHERE key = ? AND sent_unix_s <= ? ORDER BY 1 DESC LIMIT 1"
            )
            for key, times in server.answered_unix_s.items():
                for time_s in times if len(times) > 1 else ():
                    sent = connection.execute(query, (keys.get(server.digests[key]), time_s)).fetchone()
                    if sent and sent[1] == "lost" and time_s - sent[0] >= timeout_s:
                        self.late[key] += 1

    def double_paid(self, server: ServerBooks) -> int:
        """Answers beyond the first that nothing excuses."""
        return sum(max(0, count - self.paid[key] - self.late[key] - 1) for key, count in server.whole.items())


def stored_digests(store: Path) -> set[str]:
    """Digests of the texts in a response store; it may be open elsewhere, or not be there yet."""
    if not store.exists():
        return set()
    with closing(sqlite3.connect(store)) as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'responses'").fetchone()[0]:
            return set()
        rows = connection.execute("SELECT text FROM responses").fetchall()
    return {text_digest(text) for (text,) in rows}


def text_digest(text: str) -> str:
    """The digest of an answer's text, as the server's log has it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RunBooks:
    """The records of a run.

    Args:
        documents (`tuple[str, ...]`): Ids of the documents drawn, in order.
        pairs (`tuple[QAPair, ...]`): All pairs, in order.
        dropped (`Counter`): Rejections by reason.
        told (`frozenset[str]`): Documents that have a pair or a rejection.
        usage (`Usage`): What the run used.
        lost (`Usage`): What it counts for attempts that brought no reply.
        rounds (`int`): How many rounds there are.
    """

    documents: tuple[str, ...]
    pairs: tuple[QAPair, ...]
    dropped: Counter[str]
    told: frozenset[str]
    usage: Usage
    lost: Usage
    rounds: int

    @classmethod
    def read(cls, output: Path) -> RunBooks:
        records = RoundRecords(output)
        rounds = [records.load(index) for index in records.indices()]
        pairs = tuple(pair for round in rounds for pair in round.pairs)
        with ResponseStore(output / "responses.sqlite") as store:
            lost = store.paid(RunFile(output).run_id()).lost
        rejected = [rejection for round in rounds for rejection in round.rejected]
        return cls(
            documents=tuple(name for round in rounds for arm in round.decisions for name in arm.documents),
            pairs=pairs,
            dropped=Counter(rejection.reason for rejection in rejected),
            told=frozenset(pair.document_id for pair in pairs) | {rejection.document_id for rejection in rejected},
            usage=sum((round.usage for round in rounds), Usage()),
            lost=lost,
            rounds=len(rounds),
        )
