"""The page of all settings says what the dataclasses say."""

from __future__ import annotations

import importlib.util

from tests.processes import REPOSITORY


def test_the_page_of_settings_is_what_the_dataclasses_say():
    spec = importlib.util.spec_from_file_location("settings_page", REPOSITORY / "docs/settings.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run `python docs/settings.py`"
