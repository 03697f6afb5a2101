"""The model of a run: in a folder of its own, on the Hub without anything else of the run, with its dataset named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINING_ARGS_NAME
from trl import SFTTrainer

from equal_hf.errors import RecordError
from equal_hf.publishing.citation import PAPER_BIBTEX
from equal_hf.publishing.hub_model import open_model_repository, push_model
from equal_hf.publishing.model_card import link_model_card
from equal_hf.records.json_files import read_json
from equal_hf.records.run_file import RunFile


class ModelFolderTrainer(SFTTrainer):
    """An `SFTTrainer` that saves and pushes its model from `hub/model` in the run folder."""

    run_dir: str

    _tag_names = ["trl", "equal"]  # noqa: RUF012 (TRL's own attribute)
    _name = "EQUAL"
    _paper = {  # noqa: RUF012
        "title": "Not All Documents Are What You Need for Extracting Instruction Tuning Data",
        "id": "2505.12250",
        "citation": PAPER_BIBTEX,
    }

    def export_model(self) -> Path:
        """Write model, tokenizer and card to `hub/model` in the run folder, as they would stand on the Hub."""
        with self._model_folder() as folder:
            self.save_model(_internal_call=True)
            if self.is_world_process_zero():
                self.create_model_card(model_name=(self.args.hub_model_id or Path(self.run_dir).name).split("/")[-1])
        return folder

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As `SFTTrainer.save_model`, without the pickle of the arguments."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            (Path(output_dir or str(self.args.output_dir)) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As `SFTTrainer.init_hf_repo`; a public repository is refused where `hub_private_repo` is set.

        Raises:
            [`PublishError`]: If it is public, or the Hub refuses.
        """
        if self.is_world_process_zero():
            name = self.args.hub_model_id or Path(str(self.args.output_dir)).absolute().name
            private = self.args.hub_private_repo if private is None else private
            full = open_model_repository(name, token or self.args.hub_token, private=private)
            self.hub_model_id = full  # type: ignore[assignment]

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `SFTTrainer.push_to_hub`, of the files that saving the model wrote and of nothing else of the run.

        With `dataset_name` the card says what the model was trained on. Trouble of the Hub that passes is waited for,
        so it always blocks.

        Raises:
            [`PublishError`]: If it does not pass, the Hub refuses, or the repository holds another model.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        with self._model_folder() as folder:
            before = _states(folder)
            self.save_model(_internal_call=True)
            if not self.is_world_process_zero():
                return None
            model_name = kwargs.pop("model_name", None) or str(self.hub_model_id).split("/")[-1]
            self.create_model_card(model_name=model_name, **kwargs)
            names = [name for name, state in _states(folder).items() if before.get(name) != state]
        return push_model(
            folder,
            str(self.hub_model_id),
            token or self.args.hub_token,
            names=names,
            private=self.args.hub_private_repo if private is None else private,
            revision=revision or self.args.hub_revision,
            message=commit_message or "End of training",
        )

    def create_model_card(  # type: ignore[override]
        self, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None
    ) -> None:
        """As `SFTTrainer.create_model_card`, and what is to be said of the dataset.

        The card of the control does not say that EQUAL trained it.
        """
        if (policy := self._policy()) == "uniform":
            self._name, self._paper, self._tag_names = SFTTrainer._name, {}, SFTTrainer._tag_names
        super().create_model_card(model_name=model_name, dataset_name=dataset_name, tags=tags)
        if self.is_world_process_zero():
            run, summary = self._record()
            base = getattr(getattr(self.model, "config", None), "_name_or_path", None)
            run = {**run, "config": {"model": base, **run.get("config", {})}}
            dataset = dataset_name or str(Path(self.run_dir) / "hub" / "dataset")
            repo_id = self.hub_model_id or self.args.hub_model_id
            folder = str(self.args.output_dir)
            link_model_card(folder, dataset, policy=policy, run=run, summary=summary, repo_id=repo_id)

    def _policy(self) -> str | None:
        """What selected the documents, by the run's record."""
        try:
            return RunFile(self.run_dir).read()["fingerprint"]["bandit"]["policy"]
        except (RecordError, KeyError):
            return None

    def _record(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The run's record, and what was measured so far."""
        try:
            run = RunFile(self.run_dir).read()
        except RecordError:
            run = {}
        path = Path(self.run_dir) / "summary.json"
        return run, read_json(path) if path.exists() else {}

    @contextmanager
    def _model_folder(self) -> Iterator[Path]:
        """What a Trainer uploads is its `output_dir`; the run folder, with records and replies, must not be that."""
        kept, folder = self.args.output_dir, Path(self.run_dir) / "hub" / "model"
        folder.mkdir(parents=True, exist_ok=True)
        self.args.output_dir = str(folder)
        try:
            yield folder
        finally:
            self.args.output_dir = kept


def _states(folder: Path) -> dict[str, tuple[int, int]]:
    """What tells that a file was written: a person's own files, and those of an earlier save, stay as they are."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}
