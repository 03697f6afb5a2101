"""Small files of every kind of document, made here by hand."""

from __future__ import annotations

import gzip
import io
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence

LINE = "What is two and two? It is four, as everybody knows who ever counted sheep."
PARAGRAPH = f"<p>{LINE}</p><p>Whoever adds three to it gets seven, and seven is a prime number, unlike the four.</p>"


def page(body: str = PARAGRAPH, head: str = "") -> str:
    """A web page: a menu, an article with `body`, and a footer."""
    return (
        f"<!doctype html><html lang='en'><head><title>Sums</title>{head}</head><body>"
        "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About us</a></li></ul></nav>"
        f"<main><article><h1>Adding up</h1>{body}</article></main>"
        "<footer><p>Copyright of nobody. <a href='/privacy'>Privacy</a></p></footer></body></html>"
    )


def pdf(pages: Sequence[Sequence[str]], *, flate: bool = False, repeat: int = 1) -> bytes:
    """A PDF file: the lines of each page, in Helvetica; each page `repeat` times."""
    objects: dict[int, bytes] = {1: b"<< /Type /Catalog /Pages 2 0 R >>"}
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages)) for _ in range(repeat))
    objects[2] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(pages) * repeat, kids)
    objects[3] = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    for number, lines in enumerate(pages):
        shown = b" ".join(b"(%s) Tj T*" % line.encode("latin-1") for line in lines)
        content = b"BT /F1 12 Tf 72 720 Td 14 TL %s ET" % shown
        content = zlib.compress(content) if flate else content
        objects[4 + 2 * number] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number)
        )
        kind = b"/Filter /FlateDecode " if flate else b""
        objects[5 + 2 * number] = b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(content), kind, content)
    last = max(objects) + 1
    objects[last] = b"<< /Title (A title) /Author (Ada Example) /CreationDate (D:20240102030405Z) >>"
    file, places = b"%PDF-1.4\n", {}
    for number in sorted(objects):
        places[number] = len(file)
        file += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    table = b"".join(b"%010d 00000 n \n" % places[number] for number in sorted(objects))
    trailer = b"<< /Size %d /Root 1 0 R /Info %d 0 R >>" % (last + 1, last)
    return file + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (
        last + 1,
        table,
        trailer,
        len(file),
    )


def encrypted(file: bytes, password: str) -> bytes:
    """A PDF file that takes a password to read; the empty one, and it only takes one to be changed."""
    from pypdf import PdfWriter

    writer, written = PdfWriter(clone_from=io.BytesIO(file)), io.BytesIO()
    writer.encrypt(password, "of its owner", algorithm="RC4-128")
    writer.write(written)
    return written.getvalue()


def warc(pages: Iterable[tuple[str, bytes]] = (), texts: Mapping[str, str] | None = None, *, packed=True) -> bytes:
    """A WARC file of pages by URL, each after its request, or a WET file of texts; a member of gzip each record."""
    records = []
    for url, content in pages:
        records.append(_record("request", url, b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"))
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + content
        records.append(_record("response", url, answer, "application/http; msgtype=response"))
    for url, text in (texts or {}).items():
        language = "WARC-Identified-Content-Language: eng\r\n"
        records.append(_record("conversion", url, text.encode(), "text/plain", language))
    return b"".join(gzip.compress(record, mtime=0) if packed else record for record in records)


def _record(kind: str, url: str, block: bytes, content_type: str, more: str = "") -> bytes:
    name = uuid.uuid5(uuid.NAMESPACE_URL, kind + url)
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{name}>\r\nWARC-Date: 2024-05-06T07:08:09Z\r\n"
        f"WARC-Target-URI: {url}\r\n{more}Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return header.encode() + block + b"\r\n\r\n"
