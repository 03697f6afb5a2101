"""The Hub's check of a card's metadata, in the part of its vocabulary that datasets of question-answer pairs use."""

from __future__ import annotations

import re
from typing import Any

import yaml

VOCABULARY = {
    "task_categories": {"text-generation", "question-answering", "text-classification", "feature-extraction", "other"},
    "size_categories": {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"},
    "license": {
        "apache-2.0",
        "mit",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "bsd-3-clause",
        "odc-by",
        "other",
        "unknown",
    },
}


def check_card(content: str, kind: str) -> tuple[dict[str, Any], list[str]]:
    """The metadata of a card, empty where it cannot be read, and what is wrong with it."""
    match = re.match(r"---[ \t]*\n(.*?)\n---[ \t]*(\n|$)", content, re.DOTALL)
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return {}, [f"YAML: {error}"]
    if not isinstance(data, dict):
        return {}, ["metadata must be a mapping"]
    if kind != "dataset":
        return data, []
    errors = [
        f'"{key}" does not allow {value!r}'
        for key, allowed in VOCABULARY.items()
        for value in _listed(data.get(key))
        if value not in allowed
    ]
    link = data.get("license_link")
    if (
        link is not None
        and link not in ("LICENSE", "LICENSE.md")
        and not str(link).startswith(("http://", "https://"))
    ):
        errors.append(f'"license_link" must be LICENSE, LICENSE.md or an address, not {link!r}')
    for language in _listed(data.get("language")):
        if not isinstance(language, str) or not re.fullmatch(r"[a-z]{2,3}|code|multilingual", language):
            errors.append(f'"language" must be an ISO 639 code, not {language!r}')
    if not all(isinstance(config, dict) and config.get("config_name") for config in data.get("configs") or []):
        errors.append('"configs" must hold mappings with a config_name')
    return data, errors


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
