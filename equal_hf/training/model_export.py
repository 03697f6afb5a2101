"""The model of a run: in a folder of its own, on the Hub without anything else of the run, with its dataset named."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINING_ARGS_NAME
from trl import SFTTrainer

from equal_hf.publishing.hub import push_model
from equal_hf.publishing.model_card import link_model_card
from equal_hf.utils.hub_retry import is_passing
from equal_hf.utils.redaction import mask_text

logger = logging.getLogger(__name__)


class ModelFolderTrainer(SFTTrainer):
    """An `SFTTrainer` that saves and pushes its model from `hub/model` in the run folder."""

    run_dir: str

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

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As `SFTTrainer.push_to_hub`, from a folder that holds the model and nothing else of the run.

        With `dataset_name` the card says what the model was trained on. Trouble of the Hub that passes is waited for.

        Raises:
            [`PublishError`]: If it does not pass.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=kwargs.get("token"))
        with self._model_folder() as folder:
            try:
                return super().push_to_hub(*args, **kwargs)
            except Exception as error:
                if not (self.is_world_process_zero() and is_passing(error)):
                    raise
                # The model is saved by then, which takes all processes; what is left takes this one.
                logger.warning("The model was not pushed at the first try: %s", mask_text(str(error)))
                return push_model(folder, str(self.hub_model_id), kwargs.get("token") or self.args.hub_token)

    def create_model_card(  # type: ignore[override]
        self, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None
    ) -> None:
        """As `SFTTrainer.create_model_card`, and what is to be said of the dataset."""
        super().create_model_card(model_name=model_name, dataset_name=dataset_name, tags=tags)
        if dataset_name is not None and self.is_world_process_zero():
            link_model_card(str(self.args.output_dir), dataset_name)

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
