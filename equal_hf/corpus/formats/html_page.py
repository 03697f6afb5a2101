r"""The main text of a web page, as Markdown, without what stands around it: menus, footers, advertisements.

trafilatura finds it. Formulas stay as TeX, characters as they stand on the page.

>>> page = b"<title>Sums</title><body><p>1 + 1 is <b>two</b>, and 2_000 * 3 &lt; 7000.</p></body>"
>>> page_document(page)["text"]
'1 + 1 is **two**, and 2_000 * 3 < 7000.'
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from equal_hf.corpus.formats.formulas import formulas_as_tex

_CHARSET = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})|encoding\s*=\s*["']([\w.:-]{2,40})["']""", re.I
)
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Browsers read these names as what includes them.
_WIDER = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "ascii", "us-ascii"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987"), "cp949"),
    "iso-8859-9": "cp1254",
}
_BACKSLASH = "\u29f9"  # a rare sign like it stands for one of the page, to tell those of trafilatura from them
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_NO_TEXT = "script", "style", "noscript", "template"


class NotReadable(ValueError):
    """Why a file gives no document."""


def page_document(content: bytes, charset: str | None = None) -> dict[str, Any]:
    """Text and facts of a page.

    Args:
        content (`bytes`): The page.
        charset (`str`, *optional*): Its encoding, as the server told it.

    Returns:
        `dict[str, Any]`: `text`, empty where the page has none, `title`, `author`, `date` and `language`, each `None`
        where the page does not say.

    Raises:
        NotReadable: It is none.
    """
    from lxml import etree
    from lxml.html import HTMLParser, document_fromstring
    from trafilatura import extract, html2txt

    if content.lstrip()[:5] == b"%PDF-":
        raise NotReadable("it is a PDF file, which its name does not say; let the name end in .pdf")
    text = decoded(content, charset)
    if "\0" in text[:1024]:
        raise NotReadable("it holds binary data and no HTML")
    parser = HTMLParser(encoding="utf-8", collect_ids=False, remove_comments=True, remove_pis=True)
    try:
        page = document_fromstring(text.replace("\0", "").encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:  # nothing but comments or space
        return {"text": "", **dict.fromkeys(("title", "author", "date", "language"))}
    facts = _facts(page)
    formulas_as_tex(page)
    etree.strip_elements(page, *_NO_TEXT, with_tail=False)
    for element in page.iter():
        element.text = element.text and element.text.replace("\\", _BACKSLASH)
        element.tail = element.tail and element.tail.replace("\\", _BACKSLASH)
    found = extract(page, output_format="markdown", include_comments=False) or html2txt(page)
    return {"text": _ESCAPED.sub(r"\1", found).replace(_BACKSLASH, "\\").strip(), **facts}


def decoded(content: bytes, charset: str | None = None) -> str:
    """The characters of a page: by its byte order mark, as UTF-8 where it is that, by what it or the server says, else
    by what its bytes look like.

    >>> decoded("Größe".encode("latin-1"), "latin-1"), decoded("<p>数</p>".encode("utf-16"))
    ('Größe', '<p>数</p>')
    """
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return content.decode(name, "replace")
    if content[:4] in (b"<\0h\0", b"<\0!\0", b"<\0H\0"):
        return content.decode("utf-16-le", "replace")
    declared = charset or next(iter(_declared(content[:4096])), "")
    names = ["utf-8", _WIDER.get(declared.lower(), declared)]
    if declared.lower().startswith("iso-2022"):  # whose bytes are UTF-8 too
        names.reverse()
    for name in filter(None, names):
        try:
            return content.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    from charset_normalizer import from_bytes

    best = from_bytes(content[:50_000]).best()
    return content.decode(best.encoding if best else "cp1252", "replace")


def _declared(head: bytes) -> list[str]:
    return [name.decode() for pair in _CHARSET.findall(head) for name in pair if name]


def _facts(page: Any) -> dict[str, str | None]:
    """What the page says of itself; dates are not guessed from its text."""
    from trafilatura.metadata import extract_metadata

    known = extract_metadata(page, extensive=False, date_config={"extensive_search": False, "original_date": True})
    return {
        "title": known.title or None,
        "author": known.author or None,
        "date": known.date or None,
        "language": (page.get("lang") or page.get("xml:lang") or "").strip() or None,
    }
