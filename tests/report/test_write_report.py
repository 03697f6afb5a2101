"""The report: what it shows, in mid-run too, and that nothing a document or a reply holds can run in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from equal_hf.errors import PublishError, RecordError
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords
from equal_hf.records.statistics import ClusterStatistics, RunStatistics, read_run
from equal_hf.report.html import hover
from equal_hf.report.run_map import arm_terms, cluster_map
from equal_hf.report.write_report import write_report
from equal_hf.types import Decision, Document, QAPair, Rejection, Round, Usage
from tests.publishing.runs import HOSTILE, SECRET, make_run

PAYLOADS = (
    "<script>document.title='RAN'</script>",
    "<img src=x onerror=\"document.title='RAN'\">",
    "</script><script>document.title='RAN'</script>",
    "--></style><svg onload=\"document.title='RAN'\">",
    "<a href=\"javascript:document.title='RAN'\">x</a> {{ 7 * 7 }} $\\frac{1}{2}$ %{x} <!--<script>",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def hostile_run(folder: Path) -> Path:
    """Every string that comes from outside is a payload."""
    records, run_file = RoundRecords(folder), RunFile(folder)
    run_file.open({"num_rounds": 3, "max_documents": 20, "corpus": "c0ffee"}, {"corpus": PAYLOADS[0]})
    run_file.close()
    for index, payload in enumerate(PAYLOADS):
        documents = {f"{payload}{arm}": Document(f"{payload}{arm}", "text", arm) for arm in (0, 1)}
        pairs = tuple(QAPair(f"Q {payload}", f"A {payload}", name, d.cluster) for name, d in documents.items())
        decisions = tuple(Decision(d.cluster, 0.5, (name,), (0,)) for name, d in documents.items())
        rejected = (Rejection(f"{payload}0", f"reason {payload}", payload, payload, payload),)
        round = Round(index, decisions, pairs, Usage(100, 20, 2), {"transport": [0.25, -0.5]}, rejected)
        records.write_extracted(round, np.eye(2, 4), documents, [Usage(50, 10, 1)] * 2)
        metrics = {"eval_loss": 3.0 - index / 10}
        record = {"rewards": {"transport": [0.25, -0.5]}, "mixed": [0.75, -0.5], "metrics": metrics}
        records.write_reward_record(index, record)
    return folder


FORECAST = {
    "useful": 9,
    "unit": "documents",
    "spent": 12.0,
    "left": 20.0,
    "ahead": [
        {"share": share, "budget": 20 * share, "useful": 10 * share, "low": 8 * share, "high": 14 * share}
        for share in (0.1, 0.5, 1.0)
    ],
    "found_share": 0.5,
    "cost_per_useful_pair": None,
}


def figures_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[1])


def test_it_shows_what_the_records_hold(tmp_path: Path):
    run = make_run(tmp_path / "run")
    make_run(run / "control", pairs_per_arm=1)
    page = write_report(run)
    text = page.read_text()
    figures = figures_of(text)
    assert page == run / "report" / "report.html"
    names = {"reward_by_documents", "reward_by_tokens", "loss_by_documents", "loss_by_tokens"}
    assert figures.keys() == names | {"pulls", "clusters", "yields", "drops"}
    equal, control = figures["loss_by_documents"]["data"]
    assert (equal["name"], equal["x"], equal["y"]) == ("EQUAL", [4, 8, 12], [3.0, 2.9, 2.8])
    assert control["name"] == "uniform control"
    assert figures["loss_by_tokens"]["data"][0]["x"] == [120, 240, 360]
    assert figures["drops"]["data"][0]["x"] == [3]
    for row in (
        "<tr><th>pairs kept</th><td>12</td><td>6</td></tr>",
        "<tr><th>tokens a pair</th><td>30</td><td>60</td></tr>",
        "<tr><th>share of completion tokens in kept pairs</th>",
    ):
        assert row in text
    assert "reward 0.75" in text and "Documents are not shown" in text
    assert {path.name for path in page.parent.glob("*.png")} == {
        "progress.png", "pulls.png", "clusters.png", "drops.png"
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in page.parent.glob("*.png"))


def test_the_loss_begins_at_that_of_the_untrained_model(tmp_path: Path):
    run = make_run(tmp_path / "run")
    records = RoundRecords(run)
    record = records.reward_record(0) or {}
    records.write_reward_record(0, record | {"metrics": record["metrics"] | {"previous_eval_loss": 3.5}})
    text = write_report(run, pictures=False).read_text()
    figures = figures_of(text)
    for spent, x in (("documents", [0, 4, 8, 12]), ("tokens", [0, 120, 240, 360])):
        (line,) = figures[f"loss_by_{spent}"]["data"]
        assert (line["x"], line["y"]) == (x, [3.5, 3.0, 2.9, 2.8])
    assert figures["reward_by_documents"]["data"][0]["x"] == [4, 8, 12]
    assert "<tr><th>evaluation loss before the first round</th><td>3.5</td></tr>" in text


def test_it_shows_what_the_rest_of_the_budget_buys(tmp_path: Path):
    run = make_run(tmp_path / "run")
    records = RoundRecords(run)
    for index in records.indices():
        known = {"useful_pairs": 3, "forecast": FORECAST}
        records.write_reward_record(index, (records.reward_record(index) or {}) | known)
    make_run(run / "control", pairs_per_arm=1)
    text = write_report(run, pictures=False).read_text()
    assert "<tr><th>useful pairs</th><td>9</td><td>-</td></tr>" in text
    label = "useful pairs in the next 50% of the rest of the budget"
    assert f"<tr><th>{label}</th><td>5 (4 to 7)</td><td>-</td></tr>" in text


def test_a_run_that_goes_on_is_shown_and_one_that_has_not_begun_is_told(tmp_path: Path):
    run = make_run(tmp_path / "run", rounds=2, rewarded=False)
    other = RunFile(run)
    other.open({"seed": 1, "corpus": "c0ffee"}, {})  # another process has it open
    figures = figures_of(write_report(run, pictures=False).read_text())
    assert figures["loss_by_documents"]["data"][0]["y"] == [3.0, None]
    assert len(read_run(run).pulls) == 4
    other.close()
    with pytest.raises(PublishError, match="no recorded round yet"):
        write_report(make_run(tmp_path / "new", rounds=0))
    with pytest.raises(RecordError, match="run folder"):
        write_report(tmp_path / "nowhere")


def test_documents_are_shown_where_the_corpus_is_at_hand(world, tmp_path: Path):
    from equal_hf import ClusteredCorpus, CollectorConfig, EqualDataCollector, ExplicitExtractor
    from tests.world import make_target

    corpus = ClusteredCorpus.load(world / "corpus")
    config = CollectorConfig(output_dir=str(tmp_path / "run"), num_rounds=2, arms_per_round=2, documents_per_arm=4)
    collector = EqualDataCollector(corpus, ExplicitExtractor(), args=config, reference=make_target().reference)
    rounds = list(collector.rounds())
    collector.close()
    text = write_report(tmp_path / "run", corpus=world / "corpus").read_text()
    assert "<details><summary>Document</summary><pre>On " in text and "Documents are not shown" not in text
    clusters = figures_of(text)["clusters"]["data"]
    assert sum(len(trace["x"]) for trace in clusters) == corpus.n_clusters
    pulled = {decision.arm for round in rounds for decision in round.decisions}
    assert len(clusters[-1]["x"]) == len(pulled) and "terms:" in clusters[-1]["hovertext"][0]


def test_nothing_untrusted_is_markup(tmp_path: Path):
    text = write_report(hostile_run(tmp_path / "run"), pictures=True).read_text()
    for payload in PAYLOADS:
        assert payload not in text and str(escape(payload))[:20] in text
    assert len(re.findall("<script", text)) == 3, "the figures, plotly and the page's own"
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=", text.split("<script>")[0])
    assert "{{" not in text.split("<script")[0].replace("{{ 7 * 7 }}", "")
    for trace in figures_of(text)["clusters"]["data"]:
        assert not any(re.search(r"<(?!/?b>|br>)", about) for about in trace["hovertext"])


def test_no_secret_reaches_it(tmp_path: Path):
    page = write_report(make_run(tmp_path / "run"))
    assert not any(SECRET.encode() in path.read_bytes() for path in page.parent.iterdir())
    assert HOSTILE not in page.read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_figures_are_drawn_and_nothing_else_runs(tmp_path: Path):
    page = write_report(hostile_run(tmp_path / "run"), pictures=False)
    dom = browse(page, tmp_path)
    assert "<title>run · EQUAL report</title>" in dom
    assert dom.count('class="main-svg"') >= 8 and "RAN</title>" not in dom
    # The same payload in a page that does not escape does run: the browser would have told.
    naive = tmp_path / "naive.html"
    naive.write_text(f"<!doctype html><title>quiet</title>{PAYLOADS[1]}")
    assert "<title>RAN</title>" in browse(naive, tmp_path)
    # And in ours, were it to slip through the escaping, the policy would stop it.
    slipped = page.with_name("slipped.html")
    slipped.write_text(page.read_text().replace("<h1>", f"{PAYLOADS[1]}{PAYLOADS[0]}<h1>"))
    assert "<title>run · EQUAL report</title>" in browse(slipped, tmp_path)


def browse(page: Path, home: Path) -> str:
    """The page as a browser has it after its scripts ran."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    command += [f"--user-data-dir={home / 'chromium'}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout


@given(st.text())
def test_hover_text_holds_no_tag(text: str):
    assert not re.search("<(?!br>)", hover(text))


def test_terms_tell_classes_apart():
    said = {0: "the oven and the dough " * 3, 1: "the mast and the tide " * 3, 5: ""}
    arms = {number: ClusterStatistics(number, text=text) for number, text in said.items()}
    assert arm_terms(RunStatistics(Path(), {}, arms=arms)) == {0: ["dough", "oven"], 1: ["mast", "tide"], 5: []}


def test_without_pairs_or_corpus_no_cluster_has_a_place():
    where = cluster_map(RunStatistics(Path(), {}), None)
    assert where.arms == [] and where.points.shape == (0, 2)
