from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import RecordError
from equal_hf.extraction.responses import store_file
from equal_hf.extraction.responses.ledger import (
    AttemptFailed,
    AttemptStarted,
    Paid,
    Response,
    ResponseReceived,
    response_key,
)
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.responses.store_file import _LATER_COLUMNS
from equal_hf.types import Usage
from tests.servers import ROOT

MESSAGES = [{"role": "user", "content": "Hello"}]


def reply(text: str = "text", finish_reason: str = "stop") -> Response:
    return Response(text, finish_reason, Usage(7, 3, 1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "responses.sqlite"


def test_a_reply_survives_closing(path) -> None:
    with ResponseStore(path) as store:
        assert store.get("key", 16) is None
        assert store.put("key", reply(), 16, dialect="tgi", model="m") == reply()
    with ResponseStore(path) as store:
        assert store.get("key", 16) == reply()
        assert len(store) == 1


@given(st.text(max_size=50))
def test_any_text_comes_back_as_it_was(tmp_path_factory, text: str) -> None:
    with ResponseStore(tmp_path_factory.mktemp("store") / "responses.sqlite") as store:
        store.put("key", reply(text), 16)
        assert store.get("key", 16) == reply(text)


def test_a_finished_reply_serves_under_any_limit(path) -> None:
    with ResponseStore(path) as store:
        store.put("key", reply(), 100)
        assert store.get("key", 1) == store.get("key", 10_000) == reply()


def test_a_reply_cut_short_serves_until_more_is_allowed_and_is_then_replaced(path) -> None:
    with ResponseStore(path) as store:
        store.put("key", reply("cu", "length"), 100)
        assert store.get("key", 100) == store.get("key", 50) == reply("cu", "length")
        assert store.get("key", 101) is None
        assert store.put("key", reply("cut no more"), 200) == reply("cut no more")
        assert store.get("key", 100) == reply("cut no more")


def test_a_refusal_serves_until_less_is_asked_for(path) -> None:
    with ResponseStore(path) as store:
        store.put("key", reply("too long", "refused"), 100)
        assert store.get("key", 100) == store.get("key", 200) == reply("too long", "refused")
        assert store.get("key", 50) is None
        assert store.put("key", reply(), 50) == reply()


def test_the_first_reply_wins(path) -> None:
    with ResponseStore(path) as one, ResponseStore(path) as other:
        one.put("key", reply("first"), 16)
        assert other.put("key", reply("second"), 16) == reply("first")


def test_the_key_follows_all_that_determines_a_reply() -> None:
    def key(**changes) -> str:
        arguments = {
            "model": "m",
            "revision": "r",
            "messages": MESSAGES,
            "sampling": {"temperature": 0.0},
            "schema": {"type": "object"},
            "attempt": 0,
        }
        return response_key(**(arguments | changes))

    others = [
        key(model="n"),
        key(revision="s"),
        key(messages=[{"role": "user", "content": "Hello "}]),
        key(messages=[{"role": "system", "content": "Hello"}]),
        key(sampling={"temperature": 0.1}),
        key(sampling={"temperature": 0.0, "seed": 1}),
        key(schema=None),
        key(schema={"type": "array"}),
        key(attempt=1),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert key(schema={"a": 1, "b": 2}) == key(schema={"b": 2, "a": 1})
    # A field's end is no place to hide another's beginning.
    assert key(model="m,r", revision="") != key(model="m", revision=",r")


def test_files_of_others_are_refused_and_left_alone(tmp_path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("Dear diary, " * 100)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE responses (key TEXT)")
    connection.close()
    newer = tmp_path / "newer.sqlite"
    ResponseStore(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for path in (text, database, newer):
        before = path.read_bytes()
        with pytest.raises(RecordError, match=path.name):
            ResponseStore(path)
        assert path.read_bytes() == before


def as_version_4_wrote_it(path) -> None:
    """Takes a store back to the columns that version 4 had."""
    with sqlite3.connect(path) as connection:
        for table, columns in _LATER_COLUMNS.items():
            for column in columns:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 4")
    connection.close()


PAID = [
    AttemptStarted(1, "run", "key", Usage(100, 50, 1), 999, model="m", endpoint="https://one", tier="flex"),
    ResponseReceived("key", reply(), 16, "tgi", "m", 1, cost=77),
]


def test_a_store_of_version_4_is_taken_over_with_what_its_ledger_says(path) -> None:
    with ResponseStore(path) as store:
        store.commit(PAID)
    as_version_4_wrote_it(path)
    with ResponseStore(path) as store:
        response = store.get("key", 16)
        assert (response, response.cost, response.reasoning) == (reply(), 77, "")
        assert store.paid("run") == Paid(77, Usage(7, 3, 1))
    with sqlite3.connect(path) as connection:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        assert connection.execute("SELECT day, model, endpoint, tier FROM attempts").fetchall() == [
            (today, "m", "", "")
        ]
    connection.close()


OLD_WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("SELECT count(*) FROM responses").fetchone()
print("open", flush=True)
sys.stdin.readline()
connection.execute("INSERT INTO responses VALUES ('late', 'text', 'stop', 7, 3, 16, 'tgi', 'm', 1.5)")
"""


def test_a_store_that_an_earlier_version_has_open_is_left_as_it_is_until_that_ends(path, monkeypatch) -> None:
    monkeypatch.setattr(store_file, "_IN_USE_TIMEOUT_S", 0.2)
    with ResponseStore(path) as store:
        store.commit(PAID)
    as_version_4_wrote_it(path)
    command = [sys.executable, "-c", OLD_WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old:
        assert old.stdout.readline() == "open\n"
        with pytest.raises(RecordError, match="earlier version of EQUAL-HF, and another process has it open: wait"):
            ResponseStore(path)
        old.communicate("go on\n")
        assert old.returncode == 0, "it could still write"
    with ResponseStore(path) as store:
        assert (store.get("late", 1), len(store)) == (reply(), 2)


def test_processes_that_take_a_store_over_at_once_all_can(path) -> None:
    with ResponseStore(path) as store:
        store.commit(PAID)
    as_version_4_wrote_it(path)
    processes = [writer(path, name, 5) for name in "abc"]
    assert [process.communicate(timeout=60) and process.returncode for process in processes] == [0, 0, 0]
    with ResponseStore(path) as store:
        assert len(store) == 1 + 4 * 5 and store.get("key", 16).cost == 77


def test_tokens_of_every_kind_reasoning_and_where_it_went_are_kept(path) -> None:
    thought = Response("text", "stop", Usage(70, 30, 1, 60, 20), "Let me think.")
    with ResponseStore(path) as store:
        store.commit(
            [
                AttemptStarted(1, "run", "key", Usage(100, 50, 1), 999, model="m", tier="flex"),
                AttemptStarted(2, "run", "lost", Usage(100, 50, 1), 500, model="m", endpoint="https://one"),
                ResponseReceived("key", thought, 64, "openai", "m", 1, cost=77, endpoint="https://two", tier=""),
                AttemptFailed(2, maybe_billed=True, usage=Usage(90, 40, 1, 10, 5), cost=400, endpoint="https://two"),
            ]
        )
        assert (store.get("key", 64), store.get("key", 64).cost) == (thought, 77)
        assert store.paid("run") == Paid(477, Usage(70, 30, 1, 60, 20), 1, Usage(90, 40, 1, 10, 5))
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT state, tier, endpoint, model FROM attempts ORDER BY id").fetchall()
    connection.close()
    assert rows == [("answered", "", "https://two", "m"), ("lost", "", "https://two", "m")]


def test_a_store_of_the_version_that_said_flavour_is_taken_over(path) -> None:
    with ResponseStore(path) as store:
        store.put("key", reply(), 16, dialect="tgi")
    as_version_4_wrote_it(path)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE responses RENAME COLUMN dialect TO flavour")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with ResponseStore(path) as store:
        assert store.get("key", 16) == reply()
        store.put("other", reply(), 16, dialect="tgi")
    with ResponseStore(path) as store:
        assert len(store) == 2


def test_a_damaged_store_is_refused_and_left_alone(path) -> None:
    with ResponseStore(path) as store:
        for number in range(500):
            store.put(f"key{number}", reply("x" * 200), 16)
    whole = path.read_bytes()
    damaged = whole[:4096] + b"\xff" * 8192 + whole[12288:]
    for content in (damaged, b"\0" * 100 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(RecordError, match="damaged"), ResponseStore(path) as store:
            for number in range(500):
                store.get(f"key{number}", 16)
        assert path.read_bytes() == content


def test_a_folder_in_the_way_is_an_error(tmp_path) -> None:
    with pytest.raises(RecordError, match="unable to open"):
        ResponseStore(tmp_path)


def test_threads_share_a_store(path) -> None:
    with ResponseStore(path) as store, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.put(f"key{number % 50}", reply(str(number)), 16), range(200)))
        assert len(store) == 50


WRITER = """
import sys
from equal_hf.extraction.responses.ledger import Response
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.extraction.responses.store_file import _LATER_COLUMNS
from equal_hf.types import Usage

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with ResponseStore(path) as store:
    for number in range(count):
        held = store.put(f"shared{number}", Response(name, "stop", Usage(1, 1, 1)), 16)
        store.put(f"{name}{number}", Response(name * 100, "stop", Usage(1, 1, 1)), 16)
        print(number, held.text, flush=True)
"""


def writer(path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_processes_share_a_store_and_agree_on_every_reply(path) -> None:
    processes = [writer(path, name, 40) for name in "abc"]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(outputs)) == 1
    with ResponseStore(path) as store:
        assert len(store) == 4 * 40


def test_what_put_returned_for_survives_kill_9(path) -> None:
    process = writer(path, "a", 1_000_000)
    seen = [process.stdout.readline() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    seen += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    with ResponseStore(path) as store:
        for number in range(len(seen) - 1):  # the last line may be half written
            assert store.get(f"a{number}", 16) == Response("a" * 100, "stop", Usage(1, 1, 1))
        store.put("afterwards", reply(), 16)
