"""Licences by their spellings, and what they ask for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.utils.licences import (
    HUB_LICENCES,
    asks_for_attribution,
    asks_for_notice,
    asks_for_share_alike,
    forbids,
    hub_licence,
    is_provenance,
    row_licence,
    row_source,
)

SPELLINGS = {
    "mit": ["MIT", "MIT License", "The MIT License (MIT)", "https://opensource.org/licenses/MIT", "Expat"],
    "apache-2.0": [
        "Apache License, Version 2.0",
        "Apache 2.0",
        "apache-2",
        "http://www.apache.org/licenses/LICENSE-2.0",
        "https://spdx.org/licenses/Apache-2.0.html",
    ],
    "cc-by-4.0": [
        "CC BY 4.0",
        "cc-by-4",
        "Attribution 4.0 International (CC BY 4.0)",
        "https://creativecommons.org/licenses/by/4.0/deed.en",
    ],
    "cc-by-sa-3.0": ["Creative Commons Attribution-ShareAlike 3.0 Unported License", "CC-BY-SA-3.0"],
    "cc-by-nc-nd-4.0": ["Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International"],
    "cc0-1.0": ["CC0", "CC0 1.0 Universal", "Creative Commons Zero v1.0 Universal"],
    "gpl-3.0": [
        "GPLv3",
        "GNU General Public License v3.0",
        "GPL-3.0-or-later",
        "https://www.gnu.org/licenses/gpl-3.0.en.html",
    ],
    "lgpl-2.1": ["LGPLv2.1", "GNU Lesser General Public License v2.1"],
    "agpl-3.0": ["GNU Affero General Public License v3.0"],
    "bsd-3-clause": ["New BSD License", 'BSD 3-Clause "New" or "Revised" License', "3-Clause BSD"],
    "odc-by": [
        "ODC-By 1.0",
        "Open Data Commons Attribution License v1.0",
        "https://opendatacommons.org/licenses/by/1-0/",
    ],
    "unlicense": ["The Unlicense"],
    "gfdl": ["GNU Free Documentation License 1.3"],
    "llama3.1": ["Llama 3.1 Community License Agreement"],
    "gemma": ["Gemma Terms of Use"],
    "eupl-1.2": ["European Union Public Licence 1.2", "EUPL v1.2"],
    "cdla-permissive-2.0": ["Community Data License Agreement – Permissive, Version 2.0"],
}
# No licence, not one, or not which version.
UNKNOWN = [
    "public domain",
    "CC BY-SA",
    "Apache",
    "MIT OR Apache-2.0",
    "CC BY-SA 3.0 US",
    "proprietary",
    "all rights reserved",
]


@pytest.mark.parametrize(("licence", "text"), [(known, text) for known, texts in SPELLINGS.items() for text in texts])
def test_the_common_spellings_have_the_hubs_identifier(licence: str, text: str):
    assert hub_licence(text) == licence


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_is_not_certain_has_none(text: str):
    assert hub_licence(text) is None


def test_every_identifier_of_the_hub_is_its_own():
    assert [licence for licence in HUB_LICENCES if hub_licence(licence.upper()) != licence] == []


@given(st.text(max_size=60))
def test_any_text_is_read(text: str):
    assert hub_licence(text) in {None, *HUB_LICENCES}
    row_licence({"license": text, "meta": '{"license": ' + text})
    row_source({"url": text})


def test_what_licences_ask_for():
    asked = {
        text: (asks_for_attribution(text), asks_for_share_alike(text), forbids(text))
        for text in ("cc-by-4.0", "CC BY-SA", "odbl", "cc0-1.0", "mit", "cc-by-nc-sa-4.0", "by hand, sa nc")
    }
    assert asked == {
        "cc-by-4.0": (True, False, []),
        "CC BY-SA": (True, True, []),
        "odbl": (True, True, []),
        "cc0-1.0": (False, False, []),
        "mit": (False, False, []),
        "cc-by-nc-sa-4.0": (True, True, ["commercial use"]),
        "by hand, sa nc": (True, True, ["commercial use"]),
    }


def test_each_licence_of_a_list_or_an_expression_counts():
    for text in ("MIT, CC BY-SA 4.0", "MIT AND CC-BY-SA-4.0", "(mit or cc-by-sa-4.0)"):
        assert asks_for_attribution(text) and asks_for_share_alike(text) and asks_for_notice(text), text
    assert asks_for_share_alike("GPL-3.0-or-later WITH Classpath-exception-2.0") and asks_for_notice("Apache")
    assert not any(map(asks_for_notice, ("cc0-1.0", "cc-by-4.0", "Mitigated house terms")))
    assert forbids("MIT, CC BY-NC 4.0") == ["commercial use"]


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"licence": "MIT"}, "MIT"),
        ({"license": None, "licenses": '["mit", "mit", "isc"]'}, "mit, isc"),
        ({"max_stars_repo_licenses": '["Apache-2.0"]'}, "Apache-2.0"),
        ({"meta": json.dumps({"repo": {"license": {"name": "MIT License", "url": "x"}}})}, "MIT License"),
        ({"license": "unknown", "meta": "{broken licence"}, None),
        ({"license": float("nan")}, None),
        ({"silicone": "MIT", "text": "MIT licence"}, None),
    ],
)
def test_licences_are_found_in_columns_of_many_names(metadata: dict, licence: str | None):
    assert row_licence(metadata) == licence


def test_sources_are_found():
    assert row_source({"Source": " wiki "}) == "wiki"
    assert row_source({"source": None, "url": "https://user:pw@example.org:80/a"}) == "example.org"
    assert row_source({"url": "not one"}) is None and row_source({}) is None
    assert [name for name in ("license", "repo_licenses", "URL", "text", "source") if is_provenance(name)] == [
        "license",
        "repo_licenses",
        "URL",
        "source",
    ]
