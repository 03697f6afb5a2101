"""One thing goes wrong at every request, in turn, of whatever talks to the Hub: it costs time, or one true line."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.embedder import Embedder
from equal_hf.corpus.hub_push import push_embedder
from equal_hf.corpus.manifest import corpus_files
from equal_hf.errors import EqualError, PublishError
from equal_hf.publishing.dataset import dataset_files
from equal_hf.publishing.hub import check_write_access, publish_dataset
from equal_hf.publishing.hub_model import push_model
from equal_hf.utils import hub_retry
from tests.corpus.tiny import make_model, make_texts
from tests.publishing.runs import make_run
from tests.servers.hub import HubServer

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")

# These pass, so the action must come to its end. The first take the same way through our code, so that each request
# gets one of them in turn; `EQUAL_ALL_FAULTS=1` walks through all.
ALIKE = ("429", "500", "502", "503", "slow")
PASSING = ("short", "flip", "close", "lost")
# These may be meant: they end well, as an expired address does, or in one line.
MEANT = ("403", "416")


@pytest.fixture
def quick(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The Hub stand-in, whose waits inside `huggingface_hub` are not waited either."""
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
    return hub


def walk(hub: HubServer, action: Callable[[str], Any], check: Callable[[str, Any], None], name: str) -> None:
    """Do it without a fault, then with each fault at each request; after an error, once more without one."""
    hub.reset()
    check(f"{name}-0", action(f"{name}-0"))
    requests = hub.requests()
    assert len(requests) < 60, "small enough to walk through"
    for at, request in enumerate(requests):
        alike = ALIKE if os.environ.get("EQUAL_ALL_FAULTS") else (ALIKE[at % len(ALIKE)],)
        for kind in (*alike, *PASSING, *MEANT):
            case = f"{name}-{at}-{kind}"
            hub.fault(at, kind)
            try:
                done = action(case)
            except EqualError as error:
                assert kind in MEANT, (request, kind, str(error))
                assert str(error).strip() and "\n" not in str(error), (request, kind)
                hub.reset()
                done = action(case)
            hub.reset()
            check(case, done)


def files(repo_id: str, repo_type: str = "dataset") -> dict[str, str]:
    tree = HfApi().list_repo_tree(repo_id, recursive=True, repo_type=repo_type)
    return {entry.path: entry.blob_id for entry in tree if hasattr(entry, "blob_id")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ClusteredCorpus:
    """A corpus of two clusters and 24 documents."""
    folder = tmp_path_factory.mktemp("faults")
    embedder = Embedder(make_model())
    rows = make_texts(6)
    return ClusteredCorpus.build(
        rows, folder / "corpus", embedder=embedder, n_clusters=2, threads=1, show_progress=False
    )


def test_a_push_of_a_dataset(quick: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("equal_hf.report.write_report.run_pictures", lambda run_dir: {})
    run = make_run(tmp_path / "run", rounds=1)

    def check(case: str, url: str) -> None:
        assert url == f"{quick.url}/datasets/tester/{case}"
        assert set(files(f"tester/{case}")) == {*dataset_files(run / "hub/dataset"), ".gitattributes"}

    walk(quick, lambda case: publish_dataset(run, f"tester/{case}"), check, "dataset")


def test_a_push_of_a_model(quick: HubServer, tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(bytes(2000))
    (tmp_path / "README.md").write_text("---\ntags:\n- equal-hf\n---\n# Model\n")

    def push(case: str) -> Any:
        check_write_access(f"tester/{case}", private=True, repo_type="model")
        return push_model(tmp_path, f"tester/{case}", private=True)

    def check(case: str, _: Any) -> None:
        assert set(files(f"tester/{case}", "model")) == {".gitattributes", "README.md", "model.safetensors"}
        assert HfApi().repo_info(f"tester/{case}").private

    walk(quick, push, check, "model")


def test_a_push_of_a_corpus(quick: HubServer, corpus: ClusteredCorpus):
    def check(case: str, url: str) -> None:
        assert url.startswith(f"{quick.url}/datasets/tester/{case}/commit/")
        assert set(files(f"tester/{case}")) == {*corpus_files(corpus.manifest), ".gitattributes"}

    walk(quick, lambda case: corpus.push_to_hub(f"tester/{case}"), check, "corpus")


def test_a_corpus_that_is_damaged_here_is_not_pushed(quick: HubServer, corpus: ClusteredCorpus, tmp_path: Path):
    copy = Path(shutil.copytree(corpus.source, tmp_path / "copy"))
    (file,) = (copy / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(PublishError, match=r"clusters-00000-of-00001.parquet is damaged"):
        ClusteredCorpus.load(copy).push_to_hub("tester/damaged")
    (copy / "README.md").rename(tmp_path / "elsewhere.md")
    (copy / "README.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(PublishError, match="is a symbolic link"):
        ClusteredCorpus.load(copy).push_to_hub("tester/damaged")


def test_a_push_of_an_embedder(quick: HubServer, tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(bytes(2000))
    (tmp_path / "config.json").write_text("{}")

    def check(case: str, _: Any) -> None:
        assert set(files(f"tester/{case}", "model")) >= {"model.safetensors", "config.json"}

    walk(quick, lambda case: push_embedder(tmp_path, f"tester/{case}", private=True, token=None), check, "embedder")


def test_opening_a_corpus_and_drawing_from_it(quick: HubServer, corpus: ClusteredCorpus, tmp_path: Path):
    corpus.push_to_hub("tester/drawn")
    expected = [document.text for document in corpus.draw(1, 100)]
    vectors = corpus.embeddings(1).tolist()

    def draw(case: str) -> tuple[list[str], list[list[float]]]:
        there = ClusteredCorpus.from_hub("tester/drawn", cache_dir=tmp_path / case)
        return [document.text for document in there.draw(1, 100)], there.embeddings(1).tolist()

    def check(case: str, drawn: tuple[list[str], list[list[float]]]) -> None:
        assert drawn == (expected, vectors)
        shutil.rmtree(tmp_path / case)

    walk(quick, draw, check, "draw")


@pytest.fixture
def away(quick: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Nobody listens where the Hub should be, until it has been waited for; the waits."""
    port, waits = free_port(), list[float]()
    upstream = int(quick.url.rpartition(":")[2])
    there = contextlib.ExitStack()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            there.enter_context(forwarder(port, upstream))

    address = f"http://127.0.0.1:{port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hub_retry, "time", SimpleNamespace(sleep=sleep))
    with there:
        yield waits


def test_a_hub_that_is_away_at_the_start_is_waited_for(away: list[float], corpus: ClusteredCorpus, tmp_path: Path):
    from equal_hf.corpus.clustered_corpus import find_clustered

    assert find_clustered("tester/nothing-there") is None
    assert len(away) == 2, "refused twice, then it was there"


def test_a_model_that_is_looked_up_at_the_start_waits_too(away: list[float]):
    from equal_hf.cli.repository_checks import unreadable

    unreadable.cache_clear()
    assert "cannot be reached" in str(unreadable("tester/nothing-there", "model"))
    assert "no such repository" in str(unreadable("tester/nothing-there", "model", wait=True))
    assert len(away) == 2


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def forwarder(port: int, upstream: int) -> Iterator[None]:
    """Passes every connection to a port on to another one."""
    server = socket.create_server(("127.0.0.1", port))
    held: list[socket.socket] = [server]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                ends = server.accept()[0], socket.create_connection(("127.0.0.1", upstream))
                held.extend(ends)
                for source, sink in (ends, ends[::-1]):
                    threading.Thread(target=pump, args=(source, sink), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()
