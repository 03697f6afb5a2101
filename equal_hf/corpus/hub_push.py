"""Corpora and embedders pushed to the Hub: their own files only, over nothing but an earlier push of theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.card import card_of_repository, merge_cards
from equal_hf.corpus.made_from import corpus_name
from equal_hf.corpus.manifest import CARD_FILE, FORMAT, MANIFEST_FILE, corpus_files, manifest_text, read_manifest
from equal_hf.errors import PublishError
from equal_hf.utils.files import describe_file
from equal_hf.utils.hub_repository import Repository, hub_id, open_repository
from equal_hf.utils.hub_retry import retry_hub
from equal_hf.utils.known_secrets import remember_secret
from equal_hf.utils.markdown import code

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PAGE_FILES = {".gitattributes", CARD_FILE}  # what a repository has that holds nothing yet
EMBEDDER_MANIFEST, EMBEDDER_FORMAT = "equal.json", "equal-hf-embedder"
PRIVATE = "`hub_private` or `private`"
_EMBEDDER_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: feature-extraction
{base_model}tags:
- equal-hf
- sentence-transformers
---

# Embedder aligned for EQUAL

{base} trained on question-answer pairs extracted from documents{corpus}, so that documents lie near them
([arXiv:2505.12250](https://arxiv.org/abs/2505.12250)).{verdict}

```python
from sentence_transformers import SentenceTransformer

embedder = SentenceTransformer("{repo_id}")
```

Who passes it on keeps to the terms of the model that it was trained from. No licence of its own has been chosen: the
card's metadata is where it belongs (`license`).
"""


def push_corpus(folder: Path, repo_id: str, *, private: bool | None, token: str | bool | None) -> str:
    """Upload the files of a corpus folder as one commit, which also removes those of an earlier corpus: the ones that
    its own manifest lists. What a person wrote into the card there stays.

    Args:
        folder (`Path`): The corpus folder.
        repo_id (`str`): The dataset repository; made where there is none.
        private (`bool`, *optional*): Visibility that the repository must have; the account's default for a new one.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.

    Returns:
        `str`: Address of the commit.

    Raises:
        PublishError: The Hub refuses or cannot be reached, the repository holds something else than a corpus, or is
            public where `private` is asked for.
    """
    manifest = read_manifest(folder / MANIFEST_FILE, str(folder))
    push = _Push("dataset", repo_id, "hub_corpus_id", "the corpus", private, token, MANIFEST_FILE, FORMAT)
    for name in corpus_files(manifest):
        push.add(folder, name, manifest["files"].get(name))
    named = manifest | {
        "embedder": {**manifest["embedder"], "name": corpus_name(manifest["embedder"].get("name", ""))}
    }
    push.contents[MANIFEST_FILE] = manifest_text(named).encode()
    return push.run("Upload clustered corpus", show_progress=True)


def push_embedder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    base: str | None = None,
    corpus: str | None = None,
    verdict: str | None = None,
) -> str:
    """Upload a tuned embedder as a model repository.

    Args:
        folder (`Path`): Holds the model and nothing else.
        repo_id (`str`): The model repository; made where there is none.
        private (`bool`, *optional*): As for [`push_corpus`].
        token (`str` or `bool`, *optional*): As for [`push_corpus`].
        base (`str`, *optional*): The model that it was trained from, for the card.
        corpus (`str`, *optional*): The corpus whose documents the pairs were extracted from, for the card.
        verdict (`str`, *optional*): What its training was measured to bring, for the card.

    Returns:
        `str`: Address of the commit.

    Raises:
        PublishError: As for [`push_corpus`].
    """
    push = _Push(
        "model", repo_id, "hub_embedder_id", "the embedder", private, token, EMBEDDER_MANIFEST, EMBEDDER_FORMAT
    )
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    files = {path.relative_to(folder).as_posix(): describe_file(path) for path in paths if path.name != CARD_FILE}
    for name, facts in files.items():
        push.add(folder, name, facts)
    push.contents[CARD_FILE] = _embedder_card(repo_id, base, corpus, verdict).encode()
    text = json.dumps({"format": EMBEDDER_FORMAT, "files": files}, indent=2, ensure_ascii=False)
    push.contents[EMBEDDER_MANIFEST] = f"{text}\n".encode()
    return push.run("Upload aligned embedder")


def _embedder_card(repo_id: str, base: str | None, corpus: str | None, verdict: str | None) -> str:
    name = corpus_name(base) if base else None
    on_hub = name == base and hub_id(base)
    link = f"[{name}](https://huggingface.co/{name})" if on_hub else f"The local model {code(name)}"
    return _EMBEDDER_CARD.format(
        base_model=f"base_model: {name}\n" if on_hub else "",
        base=f"{link}," if name else "A sentence-transformers model,",
        corpus=f" of {code(corpus_name(corpus))}" if corpus else "",
        verdict=f" Measured: {code(verdict, 300)}." if verdict else "",
        repo_id=repo_id,
    )


def check_corpus_repository(repo_id: str, private: bool | None) -> None:
    """Refuse, before the work, a repository that a push would refuse; one that is not there yet is fine.

    Raises:
        PublishError: It holds something else than a corpus, or is public where `private` is asked for.
        HfHubHTTPError, OSError: The Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    if api.repo_exists(repo_id, repo_type="dataset"):
        push = _Push("dataset", repo_id, "hub_corpus_id", "the corpus", private, None, MANIFEST_FILE, FORMAT)
        open_repository(api, repo_id, "dataset", private, PRIVATE)
        push.look(api, repo_id)


class _Push:
    """One push. What it uploads is listed by a manifest, which says to the next push what of the repository is ours.

    Args:
        repo_type (`str`): `"dataset"` or `"model"`.
        repo_id (`str`): The repository.
        setting (`str`): The setting that names it, for messages.
        what (`str`): What is pushed, for messages.
        private (`bool`, *optional*): Visibility that is asked for.
        token (`str` or `bool`, *optional*): Hub token, or whether to send the stored one.
        manifest (`str`): Name of the manifest.
        format (`str`): What it says its `format` is.
    """

    def __init__(
        self,
        repo_type: str,
        repo_id: str,
        setting: str,
        what: str,
        private: bool | None,
        token: str | bool | None,
        manifest: str,
        format: str,
    ) -> None:
        self.repo_type, self.repo_id, self.setting, self.what = repo_type, repo_id, setting, what
        self.private, self.token, self.manifest, self.format = private, token, manifest, format
        remember_secret(token if isinstance(token, str) else None)
        self.files: dict[str, tuple[Path, str]] = {}
        self.contents: dict[str, bytes] = {}

    def add(self, folder: Path, name: str, facts: Mapping[str, Any] | None) -> None:
        """A file to send: with the hash that it must have, or, if it has none, as it stands now and no link."""
        path = folder / name
        if facts is not None:
            self.files[name] = path, facts["sha256"]
        elif path.is_symlink():
            raise PublishError(f"{self.what}: {path} is a symbolic link, which is not followed: put a file there")
        else:
            self.contents[name] = path.read_bytes()

    def run(self, message: str, show_progress: bool = False) -> str:
        """Send everything; the address of the commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from tqdm.auto import tqdm

        api = HfApi(token=self.token)

        def ask(action: Any) -> Any:
            return retry_hub(action, f"pushing {self.what} to {self.repo_id!r}", self.setting)

        def open_there() -> str:
            full = open_repository(api, self.repo_id, self.repo_type, self.private, PRIVATE)
            self.look(api, full)
            return full

        repo_id = ask(open_there)
        adds = [CommitOperationAdd(name, path) for name, (path, _) in self.files.items()]
        # Large files go up one by one before the commit names them all. The Hub keeps what it has received, so a push
        # that is stopped goes on where it was, and readers never see half of it.
        for add in tqdm(adds, desc="pushing", unit="file", disable=None if show_progress else True):
            path, expected = self.files[add.path_in_repo]
            if add.upload_info.sha256.hex() != expected:
                raise PublishError(f"{self.what}: {path} is damaged: it does not have the content that was recorded")
            ask(lambda add=add: api.preupload_lfs_files(repo_id, [add], repo_type=self.repo_type, num_threads=1))

        def commit() -> str:
            head, earlier, card, written = self.look(api, repo_id)
            contents = dict(self.contents)
            ours = contents[CARD_FILE].decode()
            ours = card_of_repository(ours, repo_id) if self.format == FORMAT else ours
            contents[CARD_FILE] = merge_cards(ours, card, written).encode()
            stale = sorted(earlier - set(self.files) - set(contents))
            operations: list[Any] = [
                *adds,
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
                *(CommitOperationDelete(name) for name in stale),
            ]
            return api.create_commit(
                repo_id, operations, commit_message=message, repo_type=self.repo_type, parent_commit=head
            ).commit_url

        return ask(commit)

    def look(self, api: HfApi, repo_id: str) -> tuple[str | None, set[str], str, Mapping[str, Any]]:
        """Commit, files of an earlier push, and card of the repository, with what that push stated in it.

        Raises:
            PublishError: It holds something else, which a push would mix with ours.
        """
        repository = Repository.read(api, repo_id, self.repo_type)
        there, card = set(repository.files), repository.text(api, CARD_FILE)
        if not there - PAGE_FILES:
            return repository.head, set(), card, {}
        try:
            manifest = json.loads(repository.text(api, self.manifest) or "null")
        except (ValueError, RecursionError):
            manifest = None
        # One of any version will do: only the names are needed.
        manifest = manifest if isinstance(manifest, dict) and manifest.get("format") == self.format else {}
        if isinstance(manifest.get("files"), dict):
            stated = manifest.get("card")
            files = {*manifest["files"], self.manifest, CARD_FILE} & there
            return repository.head, files, card, stated if isinstance(stated, dict) else {}
        kind = "clustered corpus" if self.repo_type == "dataset" else "embedder that `equal-hf index` pushed"
        raise PublishError(
            f"The {self.repo_type} {repo_id!r} holds files that are no {kind}, {min(there - PAGE_FILES)!r} among "
            f"them; nothing was changed there. Push to another repository (`{self.setting}`), or empty that one."
        )
