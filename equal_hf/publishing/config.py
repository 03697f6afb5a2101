"""Settings of publishing, besides those of transformers (`push_to_hub`, `hub_token`, `hub_private_repo`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from equal_hf.errors import ConfigError
from equal_hf.utils.effective import AllNeeds
from equal_hf.utils.settings import check_settings, setting

MIN_PUSH_EVERY_S = 60.0  # the Hub takes some 128 commits an hour


@dataclass
class PublishConfig:
    """Where pairs are published, and how often. Each field says what it is."""

    needs: ClassVar[AllNeeds] = {
        "hub_dataset_id": {"push_to_hub": [True]},
        "hub_push_every_s": {"push_to_hub": [True]},
    }

    hub_dataset_id: str | None = setting(None, "Dataset repository that pairs are published to, with `push_to_hub`.")
    hub_push_every_s: float = setting(300.0, "Least number of seconds between two pushes of rounds.")

    def __post_init__(self) -> None:
        check_settings(self, only=PublishConfig)
        if not self.hub_push_every_s >= MIN_PUSH_EVERY_S:
            raise ConfigError(
                f"`hub_push_every_s` is {self.hub_push_every_s}, but the Hub takes some 128 commits an hour: "
                f"set it to {MIN_PUSH_EVERY_S:.0f} or more"
            )
