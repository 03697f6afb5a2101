"""What to ask of endpoints, given what each of them turned out to be."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from equal_hf.errors import EndpointError
from equal_hf.extraction.budget import Prices
from equal_hf.extraction.config import EndpointConfig
from equal_hf.extraction.probe import Findings
from equal_hf.extraction.requests.cached_requests import Settings

logger = logging.getLogger(__name__)


def agree(
    findings: Sequence[Findings],
    shown: Sequence[str],
    config: EndpointConfig,
    sampling: dict[str, Any],
    prices: Prices,
) -> Settings:
    """Settings that hold for all endpoints: one model, the smallest limit, a schema if all take one.

    Args:
        findings (`Sequence[Findings]`): What each is.
        shown (`Sequence[str]`): Its URL, as it may be shown.
        config ([`EndpointConfig`]): What the user asks for.
        sampling (`dict[str, Any]`): Sampling parameters that change a reply.
        prices ([`Prices`]): What tokens cost.

    Raises:
        `EndpointError`: If they serve different models or revisions.
    """
    first = findings[0].server
    for url, found in zip(shown, findings, strict=True):
        if (found.server.model, found.server.revision) != (first.model, first.revision):
            raise EndpointError(
                f"{shown[0]} serves {first.model} at revision {first.revision}, and {url} {found.server.model} at "
                f"{found.server.revision}. Pairs of one run come from one model: correct `extractor_url`."
            )
    revision = first.revision or config.model_revision
    if revision is None:
        logger.warning(
            "%s does not tell the revision of %s: records will say 'unknown'. Set `extractor_model_revision`.",
            shown[0],
            first.model,
        )
    elif config.model_revision not in (None, revision):
        logger.warning(
            "%s serves %s at revision %s, not at `extractor_model_revision` %s: records name what is served.",
            shown[0],
            first.model,
            revision,
            config.model_revision,
        )
    limits = [found.server.prompt_limit(config.max_new_tokens) for found in findings]
    limits += [
        config.max_input_tokens,
        None if config.tokens_per_minute is None else config.tokens_per_minute - config.max_new_tokens,
    ]
    return Settings(
        model=first.model,
        revision=revision or "unknown",
        max_new_tokens=config.max_new_tokens,
        prompt_limit=min((limit for limit in limits if limit is not None), default=None),
        sampling=sampling,
        guided=all(found.schema != "refused" for found in findings),
        prices=prices,
    )
