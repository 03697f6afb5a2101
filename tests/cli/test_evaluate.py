"""`equal-hf evaluate`: exact match of a served model, by a stand-in and by a real llama.cpp."""

import json

import pytest
import yaml

from equal_hf.cli import main
from equal_hf.training.exact_match.measure import standard_error, with_result
from tests.extraction.endpoints import MODELS, completion
from tests.servers import spawn
from tests.servers.faults import Fault, FaultyServer
from tests.world import make_target

ITEMS = with_result(make_target().test, 6)


@pytest.fixture
def config(world, tmp_path):
    settings = {
        "model_name_or_path": str(world / "model"),
        "corpus": str(world / "corpus"),
        "target": str(world / "target"),
        "num_rounds": 1,
        "exact_match_items": 6,
        "exact_match_new_tokens": 9,
        "output_dir": str(tmp_path / "run"),
        "use_cpu": True,
        "bf16": False,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    return str(tmp_path / "run.yaml")


# Which question gets which reply hangs on the order in which they arrive, so all get the same.
REPLY = completion(f"It is {ITEMS[0].final}.\n#### {ITEMS[0].final}")
RIGHT = [item.final == ITEMS[0].final for item in ITEMS]
SHARE = sum(RIGHT) / len(ITEMS)


def evaluate(config, url, *flags):
    return main(["evaluate", config, "--url", url, "--concurrency", "1", *flags])


def test_what_a_server_replies_is_counted_kept_and_not_asked_for_again(config, tmp_path, capsys):
    with FaultyServer(pages=MODELS, faults=[REPLY, Fault(503), *[REPLY] * 5]) as server:
        for _ in range(2):  # the second finds all of it on record
            assert evaluate(config, server.url, "--json") == 0
            found = json.loads(capsys.readouterr().out)["target"]
            assert found == {"exact_match": SHARE, "exact_match_stderr": standard_error(SHARE, 6), "items": 6}
        assert len(server.chats) == 7, "each once, and one again after the 503"
        body = server.chats[-1].body
        assert (body["temperature"], body["max_tokens"], body["model"]) == (0.0, 9, "m")
        asked = {chat.body["messages"][0]["content"] for chat in server.chats}
        assert (
            asked == {item.question for item in ITEMS}
            and [len(chat.body["messages"]) for chat in server.chats] == [1] * 7
        )
        assert evaluate(config, server.url) == 0
        assert (
            capsys.readouterr().out == f"target: exact match {SHARE:.4f} ± {standard_error(SHARE, 6):.4f} of 6 items\n"
        )
    (path,) = (tmp_path / "run/evaluation").glob("served-served-target-chat.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["right"] for row in rows] == RIGHT and rows[0]["found"] == ITEMS[0].final


def test_a_server_that_stops_is_one_line_and_what_it_replied_stays(config, capsys):
    closed = Fault(401, body='{"error": {"message": "Incorrect API key provided"}}')
    with FaultyServer(pages=MODELS, faults=[REPLY, REPLY, closed, *[REPLY] * 4]) as server:
        assert evaluate(config, server.url) == 1
        err = capsys.readouterr().err
        assert "it answers 401" in err and "Traceback" not in err
        assert evaluate(config, server.url, "--json") == 0
        assert json.loads(capsys.readouterr().out)["target"]["exact_match"] == SHARE
        assert len(server.chats) == 7


def test_without_results_or_a_server_it_says_so(config, capsys):
    assert evaluate(config, "http://127.0.0.1:9", "--exact_match_items", "0") == 1
    assert "no test item has a result" in capsys.readouterr().err


def test_a_real_server(config, tmp_path, capsys):
    pytest.importorskip("xllamacpp", reason="needs the extra `test`")
    with spawn("tests.servers.llama") as url:
        assert main(["evaluate", config, "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"]["items"] == 6
    (path,) = (tmp_path / "run/evaluation").glob("served-*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 6 and all(0 < row["tokens"] <= 9 for row in rows) and any(row["reply"] for row in rows)
