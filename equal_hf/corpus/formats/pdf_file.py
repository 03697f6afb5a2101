"""The text of a PDF file, page by page. pypdf reads it, with its own limits on what a stream may inflate to."""

from __future__ import annotations

import io
import re
from typing import Any, BinaryIO

from equal_hf.corpus.formats.html_page import NotReadable
from equal_hf.utils.printable import first_line

MAX_CHARACTERS = 100_000_000  # of all pages, which may be one page many times
_GARBLED = re.compile(r"[\x00-\x08\x0e-\x1f\ufffd\ue000-\uf8ff]")
_MOST_GARBLED = 0.3


def pdf_document(file: BinaryIO | bytes) -> dict[str, Any]:
    """Text and facts of a PDF file.

    Args:
        file (`BinaryIO` or `bytes`): The file.

    Returns:
        `dict[str, Any]`: `text`, its pages apart by an empty line; `title`, `author` and `date`, each `None` where
        the file does not say; and the number of `pages`.

    Raises:
        NotReadable: It is none, encrypted or damaged, holds pictures of text, or its text cannot be told.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PdfStreamError, PyPdfError

    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    _check_kind(stream)
    at = ""
    try:
        reader = PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise NotReadable("it is encrypted; save it without its password")
        pages, length = [], 0
        for number, page in enumerate(reader.pages, 1):
            at = f"page {number}: "
            pages.append(page.extract_text().strip())
            length += len(pages[-1])
            if length > MAX_CHARACTERS:
                raise NotReadable(f"{at}more than {MAX_CHARACTERS:,} characters; split the file")
        at = ""
        facts = _facts(reader)
    except NotReadable:
        raise
    except DependencyError as error:
        raise NotReadable("it is encrypted with AES, which takes `pip install 'pypdf[crypto]'` to read") from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except PdfStreamError as error:
        raise NotReadable(f"{at}it is cut off or damaged ({first_line(error)})") from error
    except PyPdfError as error:
        raise NotReadable(f"{at}{first_line(error)}") from error
    except Exception as error:  # whatever a damaged file makes pypdf raise
        raise NotReadable(f"{at}it is damaged ({type(error).__name__}: {first_line(error)})") from error
    if not pages:
        raise NotReadable("it has no pages")
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise NotReadable("its pages hold no text, only pictures; run a text recognition (OCR) over it first")
    if len(_GARBLED.findall(text)) > _MOST_GARBLED * len(text):
        raise NotReadable(
            "its fonts do not say which characters they show; run a text recognition (OCR) over it first"
        )
    # Halves of characters, which some fonts name, come together, or cannot be stored.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return {"text": text, **facts, "pages": len(pages)}


def _check_kind(stream: BinaryIO) -> None:
    head = stream.read(1024)
    stream.seek(0)
    if b"%PDF-" in head:
        return
    if re.search(rb"<(!doctype|html|head|body)\b", head, re.I):
        raise NotReadable("it is HTML, which its name does not say; let the name end in .html")
    raise NotReadable("it is no PDF file")


def _facts(reader: Any) -> dict[str, str | None]:
    """What the file says of itself; a date that is none is left out."""
    from pypdf.errors import PyPdfError

    found: dict[str, str | None] = {"title": None, "author": None, "date": None}
    try:
        known = reader.metadata
        if known is not None:
            found |= {"title": _line(known.title), "author": _line(known.author)}
            found["date"] = known.creation_date.date().isoformat() if known.creation_date else None
    except (PyPdfError, ValueError, TypeError, AttributeError, KeyError):
        pass
    return found


def _line(value: Any) -> str | None:
    return " ".join(str(value).split()) or None if value is not None else None
