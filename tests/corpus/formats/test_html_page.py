"""What is kept of a web page, and which characters its bytes are."""

from __future__ import annotations

import pytest

from equal_hf.corpus.formats.html_page import NotReadable, decoded, page_document
from tests.corpus.formats.documents import LINE, PARAGRAPH, page


def text_of(body, head=""):
    return page_document(page(PARAGRAPH + body, head).encode())["text"]


def test_the_article_is_kept_without_what_stands_around_it():
    steps = "<h2>Steps</h2><ol><li>Count.</li><li>Add <code>a[0]</code>.</li></ol>"
    nested = "<ul><li>One<ul><li>Two</li></ul></li></ul>"
    text = text_of(f"{steps}{nested}<table><tr><th>n</th><th>m</th></tr><tr><td>2</td><td>4</td></tr></table>")
    assert text.startswith(f"# Adding up\n\n{LINE}\n\nWhoever adds")
    assert "## Steps\n\n1. Count.\n2. Add `a[0]`.\n\n- One\n  - Two\n" in text
    assert "| n | m |" in text and "| 2 | 4 |" in text
    for around in ("Home", "About us", "Copyright", "Privacy"):
        assert around not in text


def mathml(tex, display="inline"):
    source = f'<annotation encoding="application/x-tex">{tex}</annotation>'
    return f'<math display="{display}"><semantics><mi>x</mi>{source}</semantics></math>'


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (r"Be $a_1 * b_2 \le c$ or \(x\) so.", r"Be $a_1 * b_2 \le c$ or \(x\) so."),
        ('Be <script type="math/tex">\\frac{1}{2}</script> so.', r"Be $\frac{1}{2}$ so."),
        ('Be <script type="math/tex; mode=display">x^2</script> so.', "Be $$x^2$$ so."),
        (f"Be {mathml('x^3')} so.", "Be $x^3$ so."),
        (f"Be {mathml('x_1', 'block')} so.", "Be $$x_1$$ so."),
        (
            f'Be <span class="katex"><span class="katex-mathml">{mathml("x^2")}</span>'
            '<span class="katex-html" aria-hidden="true"><b>x</b>2</span></span> so.',
            "Be $x^2$ so.",
        ),
        (
            '<span class="mwe-math-element"><span style="display: none;">'
            + mathml(r"{\displaystyle x^{2}}")
            + '</span><img class="mwe-math-fallback-image-inline" alt="{\\displaystyle x^{2}}"></span> is so.',
            "$x^{2}$ is so.",
        ),
        ('Be <img class="tex" alt="\\pi r^2"> so, <img alt="a dog that runs"> though.', r"Be $\pi r^2$ so, though."),
        ("Be <math><msup><mi>r</mi><mn>2</mn></msup></math> so.", "Be $r^{2}$ so."),
        (
            "Be <math><mfrac><mn>1</mn><msqrt><mi>n</mi></msqrt></mfrac></math> so.",
            r"Be $\frac{1}{\sqrt{n}}$ so.",
        ),
        (f'<span class="katex">{mathml("a")}{mathml("b")}</span> is so.', "$a$ is so."),
        ("Then 10<sup>3</sup> is x<sub>1</sub>.", "Then 10<sup>3</sup> is x<sub>1</sub>."),
    ],
)
def test_formulas_are_tex_between_dollar_signs_whatever_shows_them(formula, text):
    assert text in text_of(f"<p>{formula}</p>")


def test_characters_stand_as_on_the_page():
    kept = r"a_b * c < d [1] ~e~ # f \frac{g}{h} \_ C:\new | 3 > 2"
    escaped = kept.replace("<", "&lt;").replace(">", "&gt;")
    assert kept in text_of(f"<p>Be {escaped} so.</p><pre><code>{escaped}</code></pre>")
    assert "\n# no heading" in text_of("<p># no heading</p>")


def test_what_the_page_says_of_itself_is_kept():
    head = "<meta name='author' content='Ada Example'><meta property='article:published_time' content='2023-05-06'>"
    facts = page_document(page(head=head).encode())
    assert facts.pop("text")
    assert facts == {"title": "Adding up", "author": "Ada Example", "date": "2023-05-06", "language": "en"}


@pytest.mark.parametrize(
    "content",
    [
        b"<p></p>",
        b"   ",
        b"<!-- nothing -->",
        f"<html><body><script>{'a = 1;' * 5000}</script><noscript>Enable JavaScript.</noscript>".encode(),
    ],
)
def test_a_page_without_text_has_none(content):
    assert page_document(content)["text"] == ""


def test_text_without_any_paragraph_is_found():
    assert page_document(f"<html><body>{LINE}<br>And more.</body></html>".encode())["text"].startswith(LINE)


@pytest.mark.parametrize(
    ("content", "charset"),
    [
        ("Größe".encode(), "latin-1"),
        ("Größe".encode("utf-8-sig"), None),
        ("Größe".encode("utf-16"), None),
        ("<html>Größe".encode("utf-16-le"), None),
        ("<meta charset=windows-1252>„Größe“".encode("cp1252"), None),
        ("<meta charset='iso-8859-1'>„Größe“".encode("cp1252"), None),
        ('<?xml version="1.0" encoding="iso-8859-15"?>Größe €'.encode("iso-8859-15"), None),
        ('<meta http-equiv="Content-Type" content="text/html; charset=shift_jis">大きさ'.encode("cp932"), None),
        ("大きさ".encode("euc-jp"), "euc-jp"),
        ("大きさ".encode("iso-2022-jp"), "iso-2022-jp"),
        (("Größe und Maß für Bäume. " * 40).encode("cp1252"), None),
        ("<meta charset=utf-16>Größe".encode(), None),
        (("<meta charset=no-such-one>" + "Größe und Maß für Bäume. " * 40).encode("cp1252"), None),
    ],
)
def test_the_bytes_of_a_page_are_read_in_its_encoding(content, charset):
    text = decoded(content, charset)
    assert "Größe" in text or "大きさ" in text, text
    assert "“" in text if "„" in text else "\ufeff" not in text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"%PDF-1.4\n...", r"it is a PDF file, .* end in \.pdf"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary data"),
    ],
)
def test_what_is_no_page_is_refused(content, problem):
    with pytest.raises(NotReadable, match=problem):
        page_document(content)
