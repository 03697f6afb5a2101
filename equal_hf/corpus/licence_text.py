"""What a card says of licences and of the people behind the texts: metadata, a table, and a short paragraph each."""

from __future__ import annotations

import re
from typing import Any

from equal_hf.corpus.provenance import OTHER_SOURCES, Provenance
from equal_hf.utils.licences import (
    HUB_LICENCES,
    asks_for_attribution,
    asks_for_notice,
    asks_for_share_alike,
    forbids,
    licence_address,
)
from equal_hf.utils.markdown import code, number, table

SHOWN_LICENCES, SHOWN_SOURCES, SHOWN_FEW = 30, 50, 10
HEADING = "Licences and sources"
ANCHOR = "licences-and-sources"


def licence_metadata(provenance: Provenance, repo_id: str | None = None) -> dict[str, str]:
    """The `license` of a card: the Hub's identifier where all rows state that one, else `other` with name and link.

    The link is an address, or the Hub refuses it; so there is none before the repository is known.

    Args:
        provenance ([`Provenance`]): The licences.
        repo_id (`str`, *optional*): The dataset repository, whose card has the table.

    >>> found = Provenance()
    >>> found.add([{"license": "MIT License"}])
    >>> licence_metadata(found)
    {'license': 'mit'}
    >>> found.add([{}])
    >>> licence_metadata(found)
    {'license': 'other', 'license_name': 'several-licences'}
    >>> licence_metadata(found, "me/data")["license_link"]
    'https://huggingface.co/datasets/me/data#licences-and-sources'
    """
    licences = provenance.licences
    if len(licences) == 1 and (only := next(iter(licences))) in HUB_LICENCES:
        return {"license": str(only)}
    stated = [licence for licence in licences if licence is not None]
    name = "several-licences" if stated else "not-stated"
    if len(licences) == 1 and stated:
        name = re.sub(r"[^a-z0-9.]+", "-", stated[0].lower()).strip("-.")[:60] or "see-card"
    return {"license": "other", "license_name": name} | ({"license_link": licence_link(repo_id)} if repo_id else {})


def licence_link(repo_id: str) -> str:
    """The address of the table of licences in the card of a dataset repository."""
    return f"https://huggingface.co/datasets/{repo_id}#{ANCHOR}"


def licence_section(provenance: Provenance, what: str, *, whole_texts: bool, models: bool = False) -> str:
    """The section of a card.

    Args:
        provenance ([`Provenance`]): Licences and sources.
        what (`str`): What is counted: `"documents"` or `"pairs"`.
        whole_texts (`bool`): Whether whole texts are passed on, or what was made of them.
        models (`bool`, *optional*, defaults to `False`): Whether a model wrote pairs.
    """
    licences = provenance.licences
    total = licences.total()
    ranked = sorted(licences.items(), key=lambda item: (-item[1], str(item[0])))
    rows = [
        [code(licence) if licence else "not stated", count, f"{count / total:.1%}", _sources(provenance, licence)]
        for licence, count in ranked[:SHOWN_LICENCES]
    ]
    parts = [f"## {HEADING}", _opening(provenance, what, whole_texts, models)]
    if total:
        more = f"\n\n{len(ranked) - len(rows)} more are not shown." if len(ranked) > len(rows) else ""
        parts.append(table(["licence of the document", what, "share", "sources"], rows) + more)
        parts += [_attribution(provenance, what), _notices(licences, what), _share_alike(licences, what)]
        parts.append(_forbidden(licences, what))
    if models:
        parts.append(
            "**Models.** A model wrote pairs of this dataset, as *Provenance* says: what its licence or its "
            "provider's terms ask of those who use its output comes on top."
        )
    return "\n\n".join([*filter(None, parts), *_people(f"{number(total)} {what}" if total else what, whole_texts)])


def _opening(provenance: Provenance, what: str, whole_texts: bool, models: bool) -> str:
    licences, total = provenance.licences, provenance.licences.total()
    excerpts = "excerpts of texts, or what a model made of them" if models else "excerpts of texts"
    passed_on = "whole texts" if whole_texts else excerpts
    opening = f"This dataset passes on {passed_on}; they keep the licences of their documents."
    if not total:
        return opening
    if unstated := licences[None]:
        opening += (
            f" **{number(unstated)} of {number(total)} {what}** ({unstated / total:.1%}) come from documents for "
            "which the corpus states no licence: nothing here gives leave to use them."
        )
    unknown = [licence for licence in licences if licence is not None and licence not in HUB_LICENCES]
    if unknown:
        opening += " Licences that the Hub has no identifier for stand as the corpus states them."
    return opening


def _sources(provenance: Provenance, licence: str | None) -> str:
    ranked = [
        (source, count)
        for source, count in sorted(provenance.sources(licence).items(), key=lambda item: (-item[1], str(item[0])))
        if source is not None
    ]
    shown = ", ".join(_shown(source) for source, _ in ranked[:5] if source != OTHER_SOURCES)
    return shown + (" and others" if shown and len(ranked) > 5 else "") or "not stated"


def _shown(source: str) -> str:
    return code(source.replace("<", "\\u003c"), 60)


def _attribution(provenance: Provenance, what: str) -> str:
    asking = [licence for licence in provenance.licences if licence is not None and asks_for_attribution(licence)]
    if not asking:
        return "**Attribution.** No licence that is stated asks that the source is named, as CC BY does."
    rows: list[list[Any]] = [
        [source, licence, count] for licence in asking for source, count in provenance.sources(licence).items()
    ]
    rows.sort(key=lambda row: (-row[2], str(row[0]), row[1]))
    unnamed = sum(count for source, _, count in rows if source in (None, OTHER_SOURCES))
    named = [
        [_shown(source), _linked(licence), count]
        for source, licence, count in rows
        if source not in (None, OTHER_SOURCES)
    ]
    note = (
        f" Of {number(unnamed)} more the source is in the rows, or not stated by the corpus at all: look them up by "
        "their documents' ids."
        if unnamed
        else ""
    )
    text = (
        "**Attribution.** These licences ask that the source is named, with the licence and with what was changed "
        f"({'nothing' if what == 'documents' else 'pairs were extracted'}). Who passes the {what} on keeps this "
        f"table, and the columns that name source and licence.{note}"
    )
    return text + ("\n\n" + table(["source", "licence", what], named[:SHOWN_SOURCES]) if named else "")


def _linked(licence: str) -> str:
    address = licence_address(licence)
    return f"[{code(licence)}]({address})" if address else code(licence)


def _notices(licences: Any, what: str) -> str:
    asking = {licence: count for licence, count in licences.items() if licence and asks_for_notice(licence)}
    if not asking:
        return ""
    return (
        f"**Notices.** {number(sum(asking.values()))} {what} are of documents under {_few(asking)}: with copies of "
        "them, or of substantial parts, go the copyright notice and the text of the licence. Neither is in this "
        "repository; the sources have them."
    )


def _share_alike(licences: Any, what: str) -> str:
    asking = {licence: count for licence, count in licences.items() if licence and asks_for_share_alike(licence)}
    if not asking:
        return "**Share-alike.** No licence that is stated asks for it."
    return (
        f"**Share-alike.** {number(sum(asking.values()))} {what} are of documents under {_few(asking)}: what is made "
        "of them may be passed on under the same licence only, or one that it names as compatible. Where that cannot "
        "be, leave them out by the licence column."
    )


def _few(licences: dict[str, int]) -> str:
    ranked = sorted(licences, key=lambda licence: (-licences[licence], licence))
    more = f" and {len(ranked) - SHOWN_FEW} more" if len(ranked) > SHOWN_FEW else ""
    return ", ".join(code(licence, 60) for licence in ranked[:SHOWN_FEW]) + more


def _forbidden(licences: Any, what: str) -> str:
    uses: dict[str, int] = {}
    for licence, count in licences.items():
        for use in forbids(licence) if licence else ():
            uses[use] = uses.get(use, 0) + count
    if not uses:
        return ""
    told = " and ".join(f"{use} ({number(count)} {what})" for use, count in uses.items())
    return f"**Not allowed** by the licences of some documents: {told}."


def _people(what: str, whole_texts: bool) -> list[str]:
    row = "row" if whole_texts else "pair"
    key = "id" if whole_texts else "document_id"
    ids = "`id`" if whole_texts else "`document_id` and `document_hash`"
    stands = (
        f"stand in the {what} stand here too" if whole_texts else f"stand in the documents may stand in the {what}"
    )
    return [
        f"**Personal data.** No step of this run looks for any: names, addresses and the like that {stands}.",
        "**Opt-out.** Whether authors have objected to such use (robots.txt, reservations of rights for text and data "
        "mining) was not checked by this run, but at best by whoever gathered the documents.",
        f"**Take-down.** Every {row} names its document ({ids}): to ask for one to be removed, open a discussion in "
        f'this repository that names it. Until then it is left out by `filter(lambda row: row["{key}"] != …)`.',
    ]
