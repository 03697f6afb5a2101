"""Providers by name, written from their documentation: `PROVIDERS["openai"]`."""

from __future__ import annotations

from tests.servers.providers import hosted, local, openai
from tests.servers.providers.rules import Rules

PROVIDERS: dict[str, Rules] = {rules.name: rules for rules in (*openai.ALL, *hosted.ALL, *local.ALL)}
