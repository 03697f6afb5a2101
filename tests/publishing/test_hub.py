"""Publishing against the Hub stand-in, with the real `huggingface_hub` and `datasets`."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from trl import ModelConfig

from equal_hf.cli import main
from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.checks import require
from equal_hf.cli.hub_checks import check_publishing
from equal_hf.errors import PublishError
from equal_hf.publishing.background_push import RoundPublisher
from equal_hf.publishing.dataset import export_dataset
from equal_hf.publishing.hub import check_write_access, publish_dataset
from equal_hf.publishing.hub_model import push_model
from equal_hf.records.run_folder import RoundRecords
from equal_hf.training.config import EqualConfig
from equal_hf.utils.hub_retry import limit_silence
from tests.publishing.runs import SECRET, make_run, write_round
from tests.servers.hub import HubServer

# huggingface_hub 2.4 uploads LFS files in a way that its own HTTP client calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")

PUBLISH_AND_LOAD = """
import json, sys
from datasets import load_dataset
from equal_hf.publishing.hub import publish_dataset
run, repo = sys.argv[1:]
url = publish_dataset(run, repo)
pairs = load_dataset(repo, split="train", token=False)
streamed = list(load_dataset(repo, split="train", streaming=True, token=False))
decisions = load_dataset(repo, "decisions", split="train", token=False)
rejected = load_dataset(repo, "rejected", split="train", streaming=True, token=False)
print(json.dumps({"url": url, "pairs": pairs["answer"][:], "streamed": [row["answer"] for row in streamed],
                  "loss": decisions["eval_loss"][:], "rejected": [row["reason"] for row in rejected]}))
"""


def commits(repo_id: str) -> int:
    """Commits on top of the one that made the repository."""
    return len(HfApi().list_repo_commits(repo_id, repo_type="dataset")) - 1


def files(repo_id: str) -> set[str]:
    return set(HfApi().list_repo_files(repo_id, repo_type="dataset"))


def uploads(hub: HubServer) -> int:
    return len(hub.requests("PUT", "/_lfs/"))


def test_a_published_run_opens_with_load_dataset(hub: HubServer, run_dir: Path, tmp_path: Path):
    found = json.loads(hub.python(PUBLISH_AND_LOAD, run_dir, "tester/opens", home=tmp_path / "home"))
    assert found["url"] == f"{hub.url}/datasets/tester/opens"
    assert found["pairs"] == found["streamed"] == ["0", "1"] * 2 + ["1", "2"] * 2 + ["2", "3"] * 2
    assert found["loss"] == [3.0, 3.0, 2.9, 2.9, 2.8, 2.8]
    assert found["rejected"] == ["duplicate"] * 3
    info = HfApi().dataset_info("tester/opens")
    assert info.card_data["license"] == "mit"
    assert 'load_dataset("tester/opens"' in (run_dir / "hub" / "dataset" / "README.md").read_text()


def test_publishing_again_sends_only_what_is_new(hub: HubServer, run_dir: Path):
    publish_dataset(run_dir, "again")
    assert commits("tester/again") == 1
    assert uploads(hub) == 9
    publish_dataset(run_dir, "tester/again")
    assert (commits("tester/again"), uploads(hub)) == (1, 9)
    write_round(RoundRecords(run_dir), 3)
    publish_dataset(run_dir, "tester/again")
    assert (commits("tester/again"), uploads(hub)) == (2, 12)
    assert "data/train/round-00003.parquet" in files("tester/again")
    assert not any(
        SECRET in part
        for path in (run_dir / "hub").rglob("*")
        if path.is_file()
        for part in [path.read_text("latin-1")]
    )


@pytest.mark.parametrize(
    "status, path", [(412, "/commit/main"), (429, "/commit/main"), (500, "/commit/main"), (503, "/api/repos/create")]
)
def test_trouble_that_passes_is_waited_for(hub: HubServer, run_dir: Path, status: int, path: str):
    repo = f"tester/trouble-{status}"
    hub.fail(status, path=path, count=2)
    publish_dataset(run_dir, repo)
    assert (commits(repo), uploads(hub)) == (1, 9)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub: HubServer, run_dir: Path):
    hub.fail(500, "POST", "/commit/main", after=True)
    publish_dataset(run_dir, "tester/lost")
    assert (commits("tester/lost"), uploads(hub)) == (1, 9)


def test_a_push_of_several_commits_that_was_cut_short_goes_on(
    hub: HubServer, run_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("equal_hf.publishing.hub.FILES_PER_COMMIT", 4)
    cut_short_after(1, lambda: publish_dataset(run_dir, "tester/parts"))
    assert len(files("tester/parts")) == 5, "four files and .gitattributes"
    publish_dataset(run_dir, "tester/parts")
    assert (commits("tester/parts"), uploads(hub)) == (4, 9)
    assert len(files("tester/parts")) == 16, "nine shards, four pictures, card, manifest and .gitattributes"


@pytest.mark.usefixtures("plain")
def test_an_update_that_was_cut_short_leaves_no_metadata_behind(
    hub: HubServer, run_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    publish_dataset(run_dir, "tester/update")
    before = HfApi().dataset_info("tester/update").card_data
    monkeypatch.setattr("equal_hf.publishing.hub.FILES_PER_COMMIT", 1)
    write_round(RoundRecords(run_dir), 3)
    for _ in range(2):
        cut_short_after(1, lambda: publish_dataset(run_dir, "tester/update"))
        between = HfApi().dataset_info("tester/update").card_data
        assert "dataset_info" in before and "dataset_info" not in between, "`load_dataset` would refuse other sizes"
    write_round(RoundRecords(run_dir), 4)
    publish_dataset(run_dir, "tester/update")
    found = HfApi().dataset_info("tester/update").card_data
    written = json.loads((run_dir / "hub" / "dataset" / "equal.json").read_text())["metadata"]
    assert found["configs"] == written["configs"] != before["configs"]
    # A card that an older version froze in this way comes loose again.
    card = (run_dir / "hub" / "dataset" / "README.md").read_text()
    frozen = card.replace("n<1K", "1K<n<10K").replace("description: content", "description: stale")
    HfApi().upload_file(
        path_or_fileobj=frozen.encode(), path_in_repo="README.md", repo_id="tester/update", repo_type="dataset"
    )
    publish_dataset(run_dir, "tester/update")
    assert HfApi().dataset_info("tester/update").card_data["configs"] == written["configs"]
    assert HfApi().dataset_info("tester/update").card_data["size_categories"] == ["n<1K"]


def test_a_commit_of_somebody_else_in_between_is_kept(hub: HubServer, run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    publish_dataset(run_dir, "tester/race")
    write_round(RoundRecords(run_dir), 3)
    create_commit, interfered = HfApi.create_commit, []

    def interfere(self, *args, **kwargs):
        if not interfered:
            interfered.append(True)
            HfApi().upload_file(
                path_or_fileobj=b"hi", path_in_repo="NOTES.txt", repo_id="tester/race", repo_type="dataset"
            )
        return create_commit(self, *args, **kwargs)

    monkeypatch.setattr(HfApi, "create_commit", interfere)
    publish_dataset(run_dir, "tester/race")
    assert len(hub.requests("POST", "/commit/main")) == 4
    assert [row[2] for row in hub.requests("POST", "/commit/main")] == [200, 200, 412, 200]
    assert {"NOTES.txt", "data/train/round-00003.parquet"} <= files("tester/race")


def test_trouble_that_stays_is_an_error_with_a_remedy(hub: HubServer, run_dir: Path):
    hub.fail(503, path="/commit/main", count=99)
    with pytest.raises(PublishError, match=r"the Hub answers 503, after 2 tries.*push_to_hub"):
        publish_dataset(run_dir, "tester/down", attempts=2)
    assert len(hub.requests("POST", "/commit/main")) == 2


def test_retry_after_is_obeyed(hub: HubServer, run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    from equal_hf.utils import hub_retry

    monkeypatch.undo()
    waits: list[float] = []
    monkeypatch.setattr(hub_retry.time, "sleep", waits.append)
    api = HfApi(endpoint=hub.url, token="hf_write")
    hub.fail(429, path="/api/whoami-v2", Retry_After="7")
    hub.fail(500, path="/api/whoami-v2", count=2)
    assert hub_retry.retry_hub(api.whoami, "asking", "hub_dataset_id", attempts=4)["name"] == "tester"
    assert waits[0] == 7
    assert 1 <= waits[1] <= 2 and 2 <= waits[2] <= 4


def test_write_access_is_found_out_before_the_run(hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    assert check_write_access("early", private=True) == "tester/early"
    assert HfApi().dataset_info("tester/early").private
    assert check_write_access("lab/model", repo_type="model") == "lab/model"
    writes = len(hub.requests("POST"))
    with pytest.raises(PublishError, match=r"token of tester may only read.*write access"):
        check_write_access("tester/early", "hf_read")
    assert len(hub.requests("POST")) == writes, "nothing was tried"
    with pytest.raises(PublishError, match=r"may not write there: set `hub_dataset_id`"):
        check_write_access("stranger/early")
    with pytest.raises(PublishError, match="does not know the token") as caught:
        check_write_access("tester/early", "hf_unknown_token")
    assert "hf_unknown_token" not in str(caught.value)
    with pytest.raises(PublishError, match=r"`hub_model_id` names no repository"):
        check_write_access("a/b/c", repo_type="model")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    with pytest.raises(PublishError, match="none is set: run `hf auth login`"):
        check_write_access("tester/early")


def test_what_a_run_makes_is_as_private_as_it_says(hub: HubServer, tmp_path: Path):
    run = RunArguments(
        corpus=str(tmp_path),
        target=str(tmp_path),
        embedder=str(tmp_path),
        extractor="explicit",
        hub_dataset_id="hidden",
    )
    settings = EqualConfig(
        output_dir=str(tmp_path),
        num_rounds=1,
        use_cpu=True,
        bf16=False,
        push_to_hub=True,
        hub_private_repo=True,
        hub_model_id="tester/hidden-model",
    )
    require(check_publishing(run, settings, ModelConfig(str(tmp_path))))
    assert run.hub_dataset_id == "hidden", "a check changes no setting"
    assert HfApi().dataset_info("tester/hidden").private and HfApi().model_info("tester/hidden-model").private


@pytest.mark.usefixtures("plain")
def test_nothing_is_sent_to_a_public_repository_where_a_private_one_is_asked_for(
    hub: HubServer, run_dir: Path, capsys: pytest.CaptureFixture
):
    api = HfApi()
    api.create_repo("tester/public", repo_type="dataset", private=False)
    api.create_repo("tester/public-model", private=False)
    hub.reset()
    with pytest.raises(PublishError, match=r"is public.*`hf repos settings tester/public --type dataset --private`"):
        publish_dataset(run_dir, "tester/public", private=True)
    with pytest.raises(PublishError, match=r"is public.*--type model --private`"):
        check_write_access("tester/public-model", private=True, repo_type="model")
    assert main(["publish", str(run_dir), "--repo-id", "public", "--private"]) == 1
    assert {method for method, _, _ in hub.requests()} == {"GET"}, "nothing was sent"
    capsys.readouterr()
    assert main(["publish", str(run_dir), "--repo-id", "announced", "--private"]) == 0
    assert "Making the dataset repository tester/announced, private" in capsys.readouterr().err
    assert api.dataset_info("tester/announced").private
    assert main(["publish", str(run_dir), "--repo-id", "announced", "--private"]) == 0


def test_a_model_is_pushed_alone_and_over_no_other(hub: HubServer, tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(bytes(2000))
    (model / "README.md").write_text('---\ntags:\n- equal-hf\n---\n# Model\nload("path/to/this/folder")\n')
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": f"{tmp_path}/base", "r": 4}))
    (tmp_path / "secret").write_text("secret")
    (model / "linked.json").symlink_to(tmp_path / "secret")
    api = HfApi()
    api.create_repo("tester/named")
    api.upload_file(path_or_fileobj=b"---\nlicense: mit\n---\nMine.", path_in_repo="README.md", repo_id="tester/named")
    for _ in range(2):
        push_model(model, "tester/named")
    names = {".gitattributes", "README.md", "adapter_config.json", "model.safetensors"}
    assert set(api.list_repo_files("tester/named")) == names
    adapter = json.loads(Path(api.hf_hub_download("tester/named", "adapter_config.json")).read_text())
    assert adapter == {"base_model_name_or_path": "base", "r": 4}, "no folder of this machine"
    card = Path(api.hf_hub_download("tester/named", "README.md")).read_text()
    assert "license: mit" in card and "Mine." in card and 'load("tester/named")' in card
    with pytest.raises(PublishError, match="symbolic link"):
        push_model(model, "tester/named", names=["linked.json"])
    api.create_repo("tester/other-model")
    api.upload_file(path_or_fileobj=b"precious", path_in_repo="model.safetensors", repo_id="tester/other-model")
    for refused in (lambda: push_model(model, "tester/other-model"), lambda: check_model("tester/other-model")):
        with pytest.raises(PublishError, match=r"holds a model that no run .* set `hub_model_id`"):
            refused()
    api.create_repo("tester/public-too", private=False)
    with pytest.raises(PublishError, match="is public"):
        push_model(model, "tester/public-too", private=True)


def check_model(repo_id: str) -> str:
    return check_write_access(repo_id, repo_type="model")


def test_the_words_of_a_refusal_are_shown(hub: HubServer, run_dir: Path):
    hub.fail(403, "POST", "/commit/main", X_Error_Message="Private repository storage limit reached")
    with pytest.raises(PublishError, match=r"refuses with 403: Private repository storage limit reached") as caught:
        publish_dataset(run_dir, "tester/full")
    assert "\n" not in str(caught.value)


def test_a_hub_that_nobody_answers_for_is_said_so(hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PublishError, match="no answer from the Hub"):
        check_write_access("tester/early")


def test_what_another_run_or_a_person_published_is_left_alone(hub: HubServer, run_dir: Path, tmp_path: Path):
    publish_dataset(run_dir, "tester/taken")
    with pytest.raises(PublishError, match="another run"):
        publish_dataset(make_run(tmp_path / "other", seed=2), "tester/taken")
    with pytest.raises(PublishError, match="another run"):  # of the same settings
        publish_dataset(make_run(tmp_path / "again"), "tester/taken")
    shorter = shutil.copytree(run_dir, tmp_path / "shorter")
    shutil.rmtree(shorter / "rounds" / "round-00002")
    with pytest.raises(PublishError, match=r"holds 3 rounds and .* only 2"):
        publish_dataset(shorter, "tester/taken")
    api = HfApi()
    api.create_repo("tester/own", repo_type="dataset")
    api.upload_file(path_or_fileobj=b"a,b", path_in_repo="a.csv", repo_id="tester/own", repo_type="dataset")
    refusal = "no run of equal_hf published: set `hub_dataset_id`"
    with pytest.raises(PublishError, match=refusal):
        publish_dataset(run_dir, "tester/own")
    with pytest.raises(PublishError, match=refusal):
        check_write_access("tester/own", run_dir=tmp_path / "new")
    with pytest.raises(PublishError, match="another run"):
        check_write_access("tester/taken", run_dir=tmp_path / "new")
    assert check_write_access("tester/taken", run_dir=run_dir) == "tester/taken"
    assert files("tester/own") == {".gitattributes", "a.csv"}


def test_what_a_person_adds_here_and_on_the_hub_stays(hub: HubServer, run_dir: Path):
    readme = export_dataset(run_dir) / "README.md"
    readme.write_text(readme.read_text() + "\nMade with care.\n")
    publish_dataset(run_dir, "tester/edited")
    card = readme.read_text()
    assert "Made with care." in card
    card += "\nAnd on the Hub.\n"
    edited = card.replace("license: mit", "license: cc-by-4.0\npretty_name: Mine")
    HfApi().upload_file(
        path_or_fileobj=edited.encode(), path_in_repo="README.md", repo_id="tester/edited", repo_type="dataset"
    )
    write_round(RoundRecords(run_dir), 3)
    publish_dataset(run_dir, "tester/edited")
    published = readme.read_text()
    assert "Made with care.\n\nAnd on the Hub." in published and "16 question-answer pairs" in published
    assert HfApi().dataset_info("tester/edited").card_data["license"] == "cc-by-4.0"


@pytest.mark.usefixtures("plain")
def test_a_card_that_was_there_first_is_kept(hub: HubServer, run_dir: Path, tmp_path: Path):
    api = HfApi()
    api.create_repo("tester/website", repo_type="dataset")
    theirs = b"---\nlicense: cc-by-4.0\nconfigs: []\n---\n# Mine\n\nAs I wrote it.\n"
    api.upload_file(path_or_fileobj=theirs, path_in_repo="README.md", repo_id="tester/website", repo_type="dataset")
    assert check_write_access("tester/website", run_dir=tmp_path / "new") == "tester/website"
    publish_dataset(run_dir, "tester/website")
    card = (run_dir / "hub" / "dataset" / "README.md").read_text()
    assert "# Mine\n\nAs I wrote it." in card and "12 question-answer pairs" in card
    found = api.dataset_info("tester/website").card_data
    assert found["license"] == "cc-by-4.0" and len(found["configs"]) == 3


@pytest.mark.usefixtures("plain")
def test_a_card_is_edited_here_or_there_or_both(hub: HubServer, run_dir: Path, caplog: pytest.LogCaptureFixture):
    readme = run_dir / "hub" / "dataset" / "README.md"

    def edit_there(card: str) -> None:
        HfApi().upload_file(
            path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="tester/both", repo_type="dataset"
        )

    publish_dataset(run_dir, "tester/both")
    first = readme.read_text()
    readme.write_text(first.replace("license: mit", "license: cc0-1.0") + "\nWritten here.\n")
    write_round(RoundRecords(run_dir), 3)
    export_dataset(run_dir)  # as a run does at its end, which makes the edit no less of one
    publish_dataset(run_dir, "tester/both")
    card = readme.read_text()
    assert "Written here." in card and "16 question-answer pairs" in card
    assert HfApi().dataset_info("tester/both").card_data["license"] == "cc0-1.0"
    edit_there(card + "\nWritten there.\n")
    publish_dataset(run_dir, "tester/both")
    both = readme.read_text()
    assert "Written here.\n\nWritten there." in both
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    edit_there(both.replace("Written there.", "Better said there."))
    readme.write_text(both.replace("Written here.", "Better said here."))
    publish_dataset(run_dir, "tester/both")
    publish_dataset(run_dir, "tester/both")
    assert "Better said there." in readme.read_text() and "Better said here." not in readme.read_text()
    (copy,) = (run_dir / "hub").glob("README-*.md")
    assert "Better said here." in copy.read_text() and caplog.text.count(str(copy)) == 1


@pytest.mark.usefixtures("plain")
def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(
    hub: HubServer, run_dir: Path, capsys: pytest.CaptureFixture
):
    def would_send() -> set[str]:
        assert main(["publish", str(run_dir), "--repo-id", "dry", "--dry-run", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["compared"]
        return set(told["files"])

    assert len(would_send()) == 11 and not HfApi().repo_exists("tester/dry", repo_type="dataset")
    publish_dataset(run_dir, "dry")
    readme = run_dir / "hub" / "dataset" / "README.md"
    card = readme.read_text()
    assert would_send() == set()
    write_round(RoundRecords(run_dir), 3)
    assert {name for name in would_send() if name.endswith(".parquet")} == {
        f"data/{kind}/round-00003.parquet" for kind in ("train", "rejected", "decisions")
    }
    assert main(["publish", str(run_dir), "--repo-id", "tester/elsewhere", "--dry-run"]) == 0
    assert 'load_dataset("tester/dry"' in card and 'load_dataset("tester/dry"' in readme.read_text()
    assert "; nothing was sent" in capsys.readouterr().out and commits("tester/dry") == 1


@pytest.mark.usefixtures("plain")
def test_a_persons_own_files_are_neither_sent_nor_removed(hub: HubServer, run_dir: Path):
    folder = export_dataset(run_dir)
    for name in ("data/train/mine.parquet", "pictures/me.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"mine")
    publish_dataset(run_dir, "tester/own-files")
    for name in ("data/train/theirs.parquet", "pictures/theirs.png", "data/theirs/empty.parquet"):
        HfApi().upload_file(
            path_or_fileobj=b"theirs", path_in_repo=name, repo_id="tester/own-files", repo_type="dataset"
        )
    write_round(RoundRecords(run_dir), 3)
    publish_dataset(run_dir, "tester/own-files")
    there = files("tester/own-files")
    assert {"data/train/theirs.parquet", "pictures/theirs.png", "data/theirs/empty.parquet"} <= there
    assert not {"data/train/mine.parquet", "pictures/me.png"} & there
    assert (folder / "data/train/mine.parquet").exists() and (folder / "pictures/me.png").exists()


def test_a_round_that_gave_the_first_pairs_takes_the_place_of_the_empty_file(hub: HubServer, tmp_path: Path):
    run = make_run(tmp_path / "run", rounds=1, pairs_per_arm=0)
    publish_dataset(run, "tester/late")
    assert "data/train/empty.parquet" in files("tester/late")
    write_round(RoundRecords(run), 1)
    publish_dataset(run, "tester/late")
    assert {name for name in files("tester/late") if "/train/" in name} == {"data/train/round-00001.parquet"}


def test_metadata_that_the_hub_refuses_is_said_so(hub: HubServer, run_dir: Path):
    config = json.loads((run_dir / "run.json").read_text())
    config["config"]["language"] = "English!"
    (run_dir / "run.json").write_text(json.dumps(config))
    with pytest.raises(PublishError, match=r"Invalid metadata in README\.md"):
        publish_dataset(run_dir, "tester/refused")


def test_rounds_are_pushed_as_they_complete_in_few_commits(hub: HubServer, tmp_path: Path):
    run = make_run(tmp_path / "run", rounds=1)
    publisher = RoundPublisher(run, "tester/growing", every_s=3600)
    publisher.notify()
    wait_until(lambda: hub.requests("POST", "/commit/main"))
    for index in (1, 2, 3):
        write_round(RoundRecords(run), index)
        publisher.notify()
    assert publisher.close({"equal": {"test_loss": 2.5}}) == f"{hub.url}/datasets/tester/growing"
    assert commits("tester/growing") == 2
    assert {f"data/train/round-0000{index}.parquet" for index in range(4)} <= files("tester/growing")
    assert "| `test_loss` | 2.5 |" in (run / "hub" / "dataset" / "README.md").read_text()


@pytest.mark.usefixtures("plain")
def test_a_run_that_is_started_again_keeps_to_the_interval(hub: HubServer, tmp_path: Path):
    run = make_run(tmp_path / "run", rounds=1)
    killed, again = (RoundPublisher(run, "tester/restarted", every_s=3600) for _ in range(2))
    killed.notify()
    wait_until(lambda: hub.requests("POST", "/commit/main"))
    write_round(RoundRecords(run), 1)
    again.notify()
    time.sleep(0.5)
    assert len(hub.requests("POST", "/commit/main")) == 1
    last = run / "hub" / "last_push.json"
    last.write_text(json.dumps({"began": json.loads(last.read_text())["began"] - 3600}))
    later = RoundPublisher(run, "tester/restarted", every_s=3600)
    later.notify()
    wait_until(lambda: len(hub.requests("POST", "/commit/main")) == 2)
    for publisher in (killed, again, later):
        assert publisher.close() is not None
    assert commits("tester/restarted") == 2


def test_a_push_that_fails_costs_nothing_and_is_made_up_for(
    hub: HubServer, run_dir: Path, caplog: pytest.LogCaptureFixture
):
    hub.fail(500, path="/commit/main", count=1)
    publisher = RoundPublisher(run_dir, "tester/shaky", every_s=3600)
    with caplog.at_level(logging.WARNING):
        publisher.notify()
        wait_until(lambda: "was not pushed to tester/shaky" in caplog.text)
        assert publisher.close() is not None
    assert commits("tester/shaky") == 1


def test_a_failure_at_the_end_is_logged_with_its_remedy(
    hub: HubServer, run_dir: Path, caplog: pytest.LogCaptureFixture
):
    publisher = RoundPublisher(run_dir, "stranger/nowhere")
    with caplog.at_level(logging.WARNING):
        assert publisher.close() is None
    assert "may not write there" in caplog.text and "publish it again later" in caplog.text


@pytest.fixture
def silent(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """A Hub that accepts every connection and never answers; the connections it has."""
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http._GLOBAL_CLIENT_FACTORY)  # put back afterwards
    _http.close_session()  # its limits are those of earlier tests
    server, held = socket.create_server(("127.0.0.1", 0)), []

    def accept() -> None:
        with suppress(OSError):
            while True:
                held.append(server.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    yield held
    server.shutdown(socket.SHUT_RDWR)
    for one in [server, *held]:
        one.close()
    for thread in threading.enumerate():
        if thread.name == "equal-hf-publisher":
            thread.join(20)
    _http.close_session()


def test_a_hub_that_never_answers_keeps_no_run_from_ending(
    silent: list[socket.socket], run_dir: Path, caplog: pytest.LogCaptureFixture
):
    publisher = RoundPublisher(run_dir, "tester/silent", close_within_s=0.5)
    publisher.notify()
    wait_until(lambda: silent)
    began = time.monotonic()
    assert publisher.close() is None
    assert time.monotonic() - began < 10
    assert "was not pushed to tester/silent within 0.5 s" in caplog.text and "publish it again later" in caplog.text


def test_programs_of_ours_do_not_wait_for_ever(silent: list[socket.socket], monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import _http

    monkeypatch.setattr("equal_hf.utils.hub_retry.SILENCE_S", 0.2)
    limit_silence()
    limit_silence()
    with pytest.raises(PublishError, match=r"no answer from the Hub .*Timeout.*, after 3 tries"):
        check_write_access("tester/early")

    def theirs():
        client = _http.default_client_factory()
        client.timeout = 7.0
        return client

    set_client_factory(theirs)
    limit_silence()
    assert get_session().timeout.read == 7.0, "a limit that somebody set stays"


def cut_short_after(allowed: int, push: Callable[[], object]) -> None:
    """Push, and be killed after so many commits."""
    create_commit, made = HfApi.create_commit, []

    def cut_short(self, *args, **kwargs):
        if len(made) == allowed:
            raise KeyboardInterrupt
        made.append(create_commit(self, *args, **kwargs))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(HfApi, "create_commit", cut_short)
        push()


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["a b", "a/b/c", "user/-x", "x" * 97])
def test_a_name_that_no_repository_can_have_is_refused_first(name, tmp_path, capsys):
    from equal_hf.cli import main

    assert main(["publish", str(tmp_path), f"--repo-id={name}", "--dry-run"]) != 0
    assert "which no repository can be called" in "".join(capsys.readouterr())
