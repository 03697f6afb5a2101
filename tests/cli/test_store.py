"""`equal-hf store`: what users do with the file that holds what they paid for."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from datetime import datetime

import pyarrow.parquet as pq
import pytest

from equal_hf.cli import main
from equal_hf.extraction.budget import NANO
from equal_hf.extraction.responses.ledger import AttemptFailed, AttemptStarted, Response, ResponseReceived
from equal_hf.extraction.responses.response_store import ResponseStore
from equal_hf.types import Usage


@pytest.fixture
def folder(tmp_path):
    """A run folder with a store: two models, three endings, two runs, one attempt left unanswered."""
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        for n in range(5):
            store.commit([AttemptStarted(n, "run-a", f"{n:064x}", Usage(100, 50, 1), NANO)])
            reply = Response(f"reply {n} – ünïcode", "length" if n == 4 else "stop", Usage(90, 10 * n, 1))
            store.commit([ResponseReceived(f"{n:064x}", reply, 50, "tgi", "org/one", n, NANO // 2)])
        store.commit([AttemptStarted(10, "run-b", "f" * 64, Usage(100, 50, 1), NANO)])
        store.commit(
            [AttemptStarted(11, "run-b", "e" * 64, Usage(100, 50, 1), NANO), AttemptFailed(11, maybe_billed=True)]
        )
        store.commit(
            [AttemptStarted(12, "run-b", "d" * 64, Usage(100, 50, 1), NANO), AttemptFailed(12, maybe_billed=False)]
        )
        store.put("a" * 64, Response("too long", "refused", Usage(requests=1)), 50, model="other")
    return tmp_path


def run(capsys, *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_stats_tell_replies_and_ledger(folder, capsys) -> None:
    summary = json.loads(run(capsys, "store", "stats", str(folder), "--json"))
    assert summary["responses"] == 6 and summary["bytes"] > 1000
    assert {(row["model"], row["finish_reason"], row["responses"]) for row in summary["by_model"]} == {
        ("org/one", "stop", 4),
        ("org/one", "length", 1),
        ("other", "refused", 1),
    }
    assert summary["runs"]["run-a"]["cost"] == 2.5
    assert summary["runs"]["run-b"]["cost"] == 2.0, "what was refused for good is not billed, the rest may be"
    assert set(summary["runs"]["run-b"]["attempts"]) == {"sent", "lost"}
    text = run(capsys, "store", "stats", str(folder / "responses.sqlite"))
    assert "6 responses" in text and "run run-a: 5 answered; cost 2.5000" in text


DAY = time.strftime("%Y-%m-%d", time.gmtime())


@pytest.fixture
def paid(tmp_path):
    """A run folder whose ledger knows two endpoints, a tier, and tokens of every kind."""
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        for n, (endpoint, tier) in enumerate([("https://one", ""), ("https://one", "flex"), ("https://two", "")]):
            usage = Usage(1000, 100, 1, cached_tokens=400, reasoning_tokens=60)
            store.commit(
                [
                    AttemptStarted(n, "run", f"k{n}", Usage(2000, 200, 1), NANO, "gpt-4.1", tier, endpoint),
                    ResponseReceived(f"k{n}", Response("[]", "stop", usage), 50, "openai", "gpt-4.1", n, NANO // 4),
                ]
            )
    return tmp_path


def test_stats_tell_endpoints_and_days(paid, capsys) -> None:
    summary = json.loads(run(capsys, "store", "stats", str(paid), "--json"))
    used = {"prompt_tokens": 1000, "completion_tokens": 100, "cached_tokens": 400, "reasoning_tokens": 60}
    assert summary["by_endpoint"] == [
        {"endpoint": url, "model": "gpt-4.1", "tier": tier, **used, "requests": 1, "cost": 0.25}
        for url, tier in (("https://one", ""), ("https://one", "flex"), ("https://two", ""))
    ]
    whole = {name: 3 * count for name, count in used.items()} | {"requests": 3, "cost": 0.75}
    assert summary["by_day"] == [{"day": DAY, "model": "gpt-4.1", **whole}]
    assert {name: summary["runs"]["run"][name] for name in whole} == whole
    text = run(capsys, "store", "stats", str(paid))
    assert (
        "endpoint https://one, gpt-4.1 (flex): 1 requests, 1,000 prompt (400 cached) and 100 completion (60 tho"
        in text
    )
    assert f"day {DAY}, gpt-4.1: 3 requests" in text and text.count("cost 0.7500") == 2


def compared(folder, capsys, *bills: str, status: int, options: tuple[str, ...] = ()) -> str:
    for number, text in enumerate(bills):
        (folder / f"bill{number}.csv").write_text(text)
    names = [str(folder / f"bill{number}.csv") for number in range(len(bills))]
    assert main(["store", "stats", str(folder), "--bill", *names, *options]) == status
    out = capsys.readouterr()
    return out.err if status and not out.out else out.out


MINIMAL = f"date,model,input_tokens,cached_tokens,output_tokens,amount\n{DAY},gpt-4.1,3000,1200,300,0.75\n"
# As OpenAI exports them: money by line item, tokens by model; days without use have empty cells.
START = int(datetime.fromisoformat(f"{DAY}T00:00:00+00:00").timestamp())
COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    + "".join(
        f"{START},{START + 86400},{DAY}T00:00:00+00:00,,{amount},usd,{item},p\n"
        for amount, item in [
            ("0.5", '"gpt-4.1-2025-04-14, input"'),
            ("0.0500000000000000", '"gpt-4.1-2025-04-14, cached input"'),
            ("0.2", '"gpt-4.1-2025-04-14, output"'),
            ("", ""),
        ]
    )
)
USAGE = (
    "start_time,end_time,start_time_iso,num_model_requests,model,batch,service_tier,input_tokens,output_tokens,"
    f"input_cached_tokens\n{START},,,2,gpt-4.1-2025-04-14,,default,2000,200,800\n"
    f"{START},,,1,gpt-4.1-2025-04-14,,flex,1000,100,400\n"
)


@pytest.mark.parametrize(
    "bills",
    [
        (MINIMAL,),
        (MINIMAL.replace("date,", "Day,").replace("input_tokens", "Prompt Tokens").replace(",amount", ",Cost (USD)"),),
        (f"usage_date,amount\n{DAY}T09:30:00Z,$0.50\n{DAY},0.25\n",),
        (COSTS,),
        (USAGE,),
        (COSTS, USAGE),
        ("\ufeff" + MINIMAL,),
        ("\ufeff" + MINIMAL.replace(",", ";").replace("0.75", "0,750"),),
        (f'date,amount\n{DAY},"$1,000.75"\n{DAY},"-$0,50"\n{DAY},($999.50)\n',),
    ],
    ids=["minimal", "spelt-otherwise", "money-alone", "costs", "usage", "both", "excel", "semicolons", "refunds"],
)
def test_a_bill_that_says_what_the_ledger_says(bills, paid, capsys) -> None:
    assert compared(paid, capsys, *bills, status=0, options=("--tolerance", "0")).endswith("says what the bill says\n")


def test_a_bill_that_says_something_else(paid, capsys) -> None:
    more = MINIMAL.replace("0.75", "0.80") + f"{DAY},gpt-5,10,0,1,0.01\n"
    text = compared(paid, capsys, more, status=1)
    (money, *others) = [line.split() for line in text.splitlines() if "DIFFERS" in line]
    assert money == [DAY, "gpt-4.1", "cost", "0.750000", "0.800000", "-0.050000", "DIFFERS"]
    assert {tuple(line[:3]) for line in others} == {
        (DAY, "gpt-5", what) for what in ("prompt_tokens", "completion_tokens", "cost")
    }
    assert "4 of 7 numbers differ by more than 1.00%" in text
    compared(paid, capsys, MINIMAL.replace("0.75", "0.80"), status=0, options=("--tolerance", "0.07"))
    rows = json.loads(compared(paid, capsys, more, status=1, options=("--json",)))
    assert rows["differs"] and rows["rows"][3] == {
        **{"day": DAY, "model": "gpt-4.1", "what": "cost", "ledger": 0.75, "bill": 0.8, "differs": True}
    }
    assert f"not compared, as the bill is of other days: {DAY}" in compared(
        paid, capsys, "date,model,amount\n2020-01-01,gpt-4.1,0.01\n", status=1
    )


@pytest.mark.parametrize(
    ("bill", "words"),
    [
        ("", r"its header names no day"),
        ("model,amount\nm,1\n", r"its header names no day \(model, amount\)"),
        ("date,model\n2026-01-01,m\n", r"names neither tokens nor money"),
        ("date,amount\nyesterday,1\n", r"line 2 names no day: 'yesterday'"),
        ("date,amount\n0001-01-01T00:00:00+14:00,1\n", r"line 2 names no day: '0001"),
        ("date,amount\n2026-01-01,much\n", r"line 2 has 'much' for a number"),
        ("date,amount\n2026-01-01,nan\n", r"line 2 has 'nan' for a number"),
        ("date,amount,model\n2026-01-01,3,12,m\n", r"line 2 has more cells than the header"),
        ('date,input_tokens\n2026-01-01,"1,5"\n', r"line 2 has '1,5' for a number of tokens"),
        ("date,amount\n", r"the bill holds no number"),
        ('date,amount\n2026-01-01,"1\n', r"cannot be read as a bill"),
        ("\x00" * 50, r"cannot be read as a bill"),
    ],
)
def test_what_is_no_bill_is_one_line(bill, words, paid, capsys) -> None:
    (line,) = compared(paid, capsys, bill, status=1).splitlines()
    assert re.search(words, line)


def test_a_bill_that_is_not_there_and_a_tolerance_that_is_none(paid, capsys) -> None:
    assert main(["store", "stats", str(paid), "--bill", str(paid / "none.csv")]) == 1
    assert "none.csv cannot be read as a bill: No such file" in capsys.readouterr().err
    assert "`--tolerance` is 2.0" in compared(paid, capsys, MINIMAL, status=1, options=("--tolerance", "2"))


def test_export_gives_rows(folder, capsys) -> None:
    lines = folder / "responses.jsonl"
    assert "5 responses" in run(capsys, "store", "export", str(folder), str(lines), "--model", "org/one")
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [f"reply {n} – ünïcode" for n in range(5)]
    table = folder / "responses.parquet"
    run(capsys, "store", "export", str(folder), str(table))
    assert [row for row in pq.read_table(table).to_pylist() if row["model"] == "org/one"] == rows


def test_prune_deletes_what_is_named_and_keeps_the_ledger(folder, capsys) -> None:
    assert "1 responses would be deleted" in run(
        capsys, "store", "prune", str(folder), "--finish-reason", "length", "--dry-run"
    )
    assert "1 responses deleted" in run(capsys, "store", "prune", str(folder), "--finish-reason", "length")
    assert "0 responses deleted" in run(capsys, "store", "prune", str(folder), "--older-than-days", "1")
    with ResponseStore(folder / "responses.sqlite") as store:
        assert len(store) == 5
        assert store.paid("run-a").cost == 5 * NANO // 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["prune", "{folder}"], "--model, --finish-reason or --older-than-days"),
        (["export", "{folder}", "{folder}/responses.csv"], ".jsonl or .parquet"),
        (["stats", "{folder}/nowhere"], "there is no response store"),
        (["stats", "{folder}/foreign.sqlite"], "another program"),
    ],
)
def test_mistakes_are_told_and_change_nothing(argv: list[str], words: str, folder, capsys) -> None:
    foreign = sqlite3.connect(folder / "foreign.sqlite")
    foreign.execute("CREATE TABLE mine (x)")
    foreign.close()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["store", *(word.format(folder=folder) for word in argv)]) == 1
    assert words in capsys.readouterr().err
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before
