"""Licences of documents: the column that states them, the Hub's identifier of the common spellings, what they ask for.

`huggingface_hub` keeps no list of the Hub's identifiers, and the libraries that know licences (`packaging.licenses`,
`license-expression`) know SPDX identifiers, not names and addresses: so the list is kept here, with a few rules.

>>> [hub_licence(text) for text in ("MIT License", "CC BY-SA 4.0", "Apache-2.0", "GPLv3", "CC BY")]
['mit', 'cc-by-sa-4.0', 'apache-2.0', 'gpl-3.0', None]
>>> hub_licence("https://creativecommons.org/licenses/by-nc/4.0/"), hub_licence("Attribution-ShareAlike 3.0 Unported")
('cc-by-nc-4.0', 'cc-by-sa-3.0')
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

# https://huggingface.co/docs/hub/repositories-licenses, without `other` and `unknown`.
HUB_LICENCES = frozenset(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma
    """.split()
)
UNSTATED = frozenset(["", "-", "?", "none", "null", "nan", "n/a", "na", "unknown", "unspecified", "not specified"])
_NAMES = ("license", "licence", "licenses", "licences")
_NAMED = re.compile(r"(?:^|[_.\s-])licen[cs]es?(?:$|[_.\s-])", re.IGNORECASE)
SOURCE_NAMES = ("source", "source_name", "origin", "dataset", "domain")
URL_NAMES = ("url", "source_url", "link", "uri")

# Words of full names, as the identifiers have them.
_WORDS = (
    (r"creative[\s_-]*commons", "cc"),
    (r"attribution", "by"),
    (r"share[\s_-]*alike", "sa"),
    (r"non[\s_-]*commercial", "nc"),
    (r"no[\s_-]*deriv(?:ative)?s?(?:[\s_-]*works)?", "nd"),
    (r"open[\s_-]*data[\s_-]*commons", "odc"),
    (r"lesser general public", "lgpl"),
    (r"affero general public", "agpl"),
    (r"general public", "gpl"),
    (r"mozilla public", "mpl"),
    (r"eclipse public", "epl"),
    (r"free documentation", "gfdl"),
    (r"boost software", "bsl"),
    (r"european union public", "eupl"),
    (r"etalab open", "etalab"),
    (r"community data licen[cs]e agreement", "cdla"),
    (r"llama[\s_-]*(\d(?:\.\d)?)[\s_-]*community(?:[\s_-]*licen[cs]e)?(?:[\s_-]*agreement)?", r"llama\1"),
    (r"gemma[\s_-]*terms[\s_-]*of[\s_-]*use", "gemma"),
)
_FILLERS = frozenset(
    "the a license licence licensed under version v international intl unported generic deed software gnu".split()
)
# What is left of other spellings.
_ALIASES = {
    "expat": "mit",
    "mit-expat": "mit",
    "asl-2.0": "apache-2.0",
    "bsd-new": "bsd-3-clause",
    "bsd-2": "bsd-2-clause",
    "bsd-3": "bsd-3-clause",
    "2-clause-bsd": "bsd-2-clause",
    "3-clause-bsd": "bsd-3-clause",
    "new-bsd": "bsd-3-clause",
    "bsd-3-clause-new-or-revised": "bsd-3-clause",
    "bsd-2-clause-simplified": "bsd-2-clause",
    "modified-bsd": "bsd-3-clause",
    "simplified-bsd": "bsd-2-clause",
    "cc0": "cc0-1.0",
    "cc-0": "cc0-1.0",
    "cc-zero": "cc0-1.0",
    "cc-zero-1.0": "cc0-1.0",
    "cc0-1.0-universal": "cc0-1.0",
    "cc-zero-1.0-universal": "cc0-1.0",
    "cc0-1.0-universal-public-domain-dedication": "cc0-1.0",
    "odc-by-1.0": "odc-by",
    "odc-odbl": "odbl",
    "odbl-1.0": "odbl",
    "open-database": "odbl",
    "pddl-1.0": "pddl",
    "odc-pddl": "pddl",
    "boost-1.0": "bsl-1.0",
}
_ADDRESSES = (
    (re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)(?:/(?:legalcode|deed)[\w.-]*)?/?"), r"cc-\1-\2"),
    (re.compile(r"creativecommons\.org/publicdomain/zero/1\.0(?:/(?:legalcode|deed)[\w.-]*)?/?"), "cc0-1.0"),
    (re.compile(r"apache\.org/licenses/license-(\d\.\d)(?:\.\w+)?/?"), r"apache-\1"),
    (re.compile(r"gnu\.org/(?:licenses|copyleft)/(?:old-licenses/)?([al]?gpl-\d\.\d|fdl-\d\.\d)[\w.-]*/?"), r"\1"),
    (re.compile(r"mozilla\.org/(?:en-us/)?mpl/2\.0/?"), "mpl-2.0"),
    (
        re.compile(
            r"(?:opensource\.org/licenses?|spdx\.org/licenses|choosealicense\.com/licenses)/([\w.+-]+?)(?:\.html)?/?"
        ),
        r"\1",
    ),
    (re.compile(r"opendatacommons\.org/licenses/(by|odbl|pddl)(?:/[\w.-]*)*"), r"odc-\1"),
    (re.compile(r"unlicense\.org/?"), "unlicense"),
)


# Several licences in one text: a list, or an SPDX expression.
_JOINED = re.compile(r"\s*[,;|]\s*|\s+(?:AND|OR|and|or)\s+")
# Licences of which the text has to go along with copies.
_NOTICE = re.compile(
    r"(?:mit|isc|bsd|bsl|ncsa|zlib|postgresql|apache|mpl|[al]?gpl|gfdl|epl|eupl|afl|osl|artistic|ecl|ofl|ms-pl|0bsd)"
    r"(?:-|$)",
    re.IGNORECASE,
)
_COPYLEFT = re.compile(r"(?:odbl|gfdl|cdla-sharing-1\.0|[al]?gpl|eupl|osl)(?:-|$)", re.IGNORECASE)


def hub_licence(text: str) -> str | None:
    """The Hub's identifier of a licence; `None` where the text names none, or not which version.

    Args:
        text (`str`): A name, an SPDX identifier, an address.
    """
    plain = " ".join(text.lower().split())
    if plain in HUB_LICENCES:
        return plain
    if match := re.fullmatch(r"([^()]+)\(([^()]+)\)", plain):  # "Attribution 4.0 (CC BY 4.0)"
        return hub_licence(match[2]) or hub_licence(match[1])
    if "/" in plain and (found := _of_address(plain)) is not None:
        plain = found
    for pattern, word in _WORDS:
        plain = re.sub(pattern, word, plain)
    plain = re.sub(r"[()\[\],;:'\"]", " ", plain)
    plain = re.sub(r"\bv(?=\d)|(?<=gpl)v(?=\d)", " ", plain)
    words = [word for word in re.split(r"[\s_/–—-]+", plain) if word and word not in _FILLERS]
    name = "-".join(words)
    name = re.sub(r"-?(?:only|or-later|\+)$", "", name) if "gpl" in name or "fdl" in name else name
    name = re.sub(r"^(apache|mpl|epl|[al]?gpl|cc-by(?:-[a-z]{2})*)-?(\d)$", r"\1-\2.0", name)
    name = re.sub(r"^g?fdl(?:-\d\.\d)?$", "gfdl", name)
    name = re.sub(r"^([al]?gpl)-\1-", r"\1-", name)  # "General Public License GPL 3.0"
    name = f"cc-{name}" if re.match(r"by(?:-[a-z]{2})*-\d\.\d$", name) else name
    name = _ALIASES.get(name, name)
    return name if name in HUB_LICENCES else None


def is_stated(text: str | None) -> bool:
    """Whether a value of a licence column states one."""
    return text is not None and text.strip().lower() not in UNSTATED


def single_licences(text: str) -> list[str]:
    """The licences that a text names, each the Hub's identifier where it has one: of a list, or of an SPDX expression.

    >>> single_licences("MIT, CC BY-SA 4.0"), single_licences("(Apache-2.0 WITH LLVM-exception AND BSD-2-Clause)")
    (['mit', 'cc-by-sa-4.0'], ['apache-2.0', 'bsd-2-clause'])
    """
    if (known := hub_licence(text)) is not None:
        return [known]
    plain = re.sub(r"\s+WITH\s+[\w.+-]+", "", text)  # an exception gives leave, and asks for nothing
    plain = plain.replace("(", " ").replace(")", " ") if _JOINED.search(plain) else plain
    parts = [part.strip() for part in _JOINED.split(plain) if part.strip()]
    return list(dict.fromkeys(hub_licence(part) or part for part in parts))


def asks_for_attribution(licence: str) -> bool:
    """Whether who passes texts on has to name their source, as CC BY and ODC-By ask."""
    return any("by" in _parts(one) or one in ("odbl", "cdla-sharing-1.0") for one in _all(licence))


def asks_for_notice(licence: str) -> bool:
    """Whether who passes texts on has to pass on the licence's text, and the copyright notice, as MIT and BSD ask."""
    return any(_NOTICE.match(one) for one in _all(licence))


def asks_for_share_alike(licence: str) -> bool:
    """Whether what is made of the texts may be passed on under the same licence only, as CC BY-SA and the GPL ask."""
    return any("sa" in _parts(one) or _COPYLEFT.match(one) for one in _all(licence))


def forbids(licence: str) -> list[str]:
    """What is not allowed by a licence, of those that say so in their names.

    >>> forbids("CC BY-NC-ND 4.0"), forbids("mit")
    (['commercial use', 'derivatives'], [])
    """
    parts = {part for one in _all(licence) for part in _parts(one)}
    return [use for part, use in (("nc", "commercial use"), ("nd", "derivatives")) if part in parts]


def row_licence(metadata: Mapping[str, Any]) -> str | None:
    """What a document's metadata says of its licence; `None` where it says nothing.

    The columns `license`, `licence`, `licenses`, `licences` are looked at first, then others of such a name
    (`repo_license`), then JSON in columns; several licences are joined by commas.

    >>> row_licence({"licence": "MIT"}), row_licence({"meta": '{"repo": {"licenses": ["mit", "isc"]}}'})
    ('MIT', 'mit, isc')
    """
    for value in _found(metadata):
        texts = [text for text in _texts(value) if is_stated(text)]
        if texts:
            return ", ".join(dict.fromkeys(texts))[:200]
    return None


def row_source(metadata: Mapping[str, Any]) -> str | None:
    """Where a document's metadata says it is from: its source, or the host of its address.

    >>> row_source({"url": "https://example.org/a?b"}), row_source({"source": "wiki", "url": "https://example.org"})
    ('example.org', 'wiki')
    """
    values = {name.lower(): value for name, value in metadata.items() if isinstance(value, str) and value.strip()}
    for name in SOURCE_NAMES:
        if name in values:
            return values[name].strip()[:200]
    for name in URL_NAMES:
        try:
            host = urlsplit(values.get(name, "")).hostname
        except ValueError:
            continue
        if host:
            return host[:200]
    return None


def is_provenance(name: str) -> bool:
    """Whether a column says of what licence, or from where, a document is."""
    return bool(_NAMED.search(name)) or name.lower() in (*SOURCE_NAMES, *URL_NAMES)


def licence_address(licence: str) -> str | None:
    """Where the text of a licence is, of those that ask for a link to it: Creative Commons' and ODC-By.

    >>> licence_address("cc-by-sa-4.0"), licence_address("mit")
    ('https://creativecommons.org/licenses/by-sa/4.0/', None)
    """
    if match := re.fullmatch(r"cc-(by[a-z-]*)-(\d\.\d)", licence):
        return f"https://creativecommons.org/licenses/{match[1]}/{match[2]}/"
    return "https://opendatacommons.org/licenses/by/1-0/" if licence == "odc-by" else None


def _all(licence: str) -> list[str]:
    """A text and the licences that it names. Of alternatives each counts: which one is taken up is not known here."""
    return [licence, *single_licences(licence)]


def _parts(licence: str) -> list[str]:
    """The parts of a Creative Commons or ODC licence, also of one that the Hub has no identifier for."""
    known = hub_licence(licence)
    if known is None:
        plain = licence.lower()
        for pattern, word in _WORDS:
            plain = re.sub(pattern, word, plain)
        known = "-".join(re.findall(r"[a-z]+", plain))
    parts = known.split("-")
    return parts if parts[0] in ("cc", "odc", "by") else []


def _of_address(plain: str) -> str | None:
    address = re.sub(r"^(?:https?:)?//(?:www\.)?", "", plain)
    for pattern, name in _ADDRESSES:
        if match := pattern.fullmatch(address):
            return match.expand(name)
    return None


def _found(metadata: Mapping[str, Any]) -> Iterable[Any]:
    """Values that may be licences, the likeliest first."""
    lower = {name.lower(): value for name, value in metadata.items()}
    for name in _NAMES:
        if name in lower:
            yield lower[name]
    for name, value in metadata.items():
        if name.lower() not in _NAMES and _NAMED.search(name):
            yield value
    for value in metadata.values():
        if isinstance(value, str) and value[:1] == "{" and "licen" in value.lower() and len(value) < 100_000:
            yield from _nested(_parsed(value), 3)


def _nested(value: Any, depth: int) -> Iterable[Any]:
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            if _NAMED.search(str(name)):
                yield inner
        for inner in value.values():
            yield from _nested(inner, depth - 1)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        parsed = _parsed(value)
        value = value if parsed is None else parsed
    if isinstance(value, Mapping):  # {"name": "MIT", "url": …}
        named = [value[name] for name in ("spdx_id", "spdx", "id", "key", "name", "title", "url") if value.get(name)]
        return _texts(named[0]) if named else []
    if isinstance(value, list | tuple):
        return [text for item in value[:20] for text in _texts(item)]
    return [str(value).strip()] if isinstance(value, str | int | float) and value == value else []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
