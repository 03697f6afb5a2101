"""Backslashes of mathematics, as models write them in JSON: escaped, single, and mixed with real escapes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.prompts.latex_escapes import _COMMANDS, escape_latex
from equal_hf.extraction.prompts.parse_reply import clean_text, parse_pairs
from equal_hf.extraction.prompts.refine_judge import REFINE

DATA = Path(os.environ.get("EQUAL_DATA", "../shared/data"))


def reply(question: str, answer: str, *, single: bool) -> str:
    text = json.dumps({"pairs": [{"question": question, "answer": answer}]})
    return text.replace("\\\\", "\\") if single else text


def test_every_command_survives_in_mathematics_and_in_prose() -> None:
    corrupted = []
    for command in sorted(_COMMANDS):
        after = "{cm}" if command == "text" else ""
        for form in (
            f"What is $3 \\{command}{after} 4$?",
            f"What is 3 \\{command}{after} 4?",
            f"y \\{command}{after} x.",
        ):
            for single in (True, False):
                text = reply(form, form, single=single)
                if not parse_pairs(text).pairs == REFINE.read(text, 1) == [(form, form)]:
                    corrupted.append((form, single))
    assert not corrupted


@pytest.mark.parametrize(
    "text",
    [
        "First line\nu = 3\ne = 2.7\ni = 0\nless than that\nexists\nmid-term\neg. this",
        "def f(x):\n\ttotal = x\n\treturn total\n",
        "name\tage\tto\tvalue\nAnna\t12\ttop\t3",
        "all:\n\ttouch a\n\trm b\n\ttest -f b",
        "one\r\ntwo\r\nright?",
        "for u in x:\n    print(u)\nnext(u)",
        "a\n\nb\n\n\nnot an escape of LaTeX",
        'He said "no"\nand left\\.',
        "Let $x$ be given.\nnew line, then\nequation $y$ and\neven $z$.",
        "$$\nu = v\n$$ and \\[\nu + v\n\\]",
        "\\begin{align*}\nu &= 1 \\\\\nu &= 2\n\\end{align*}",
    ],
)
def test_real_new_lines_and_tabs_survive(text: str) -> None:
    # "ot an escape" begins no line: that n is the letter of a word.
    pair = ("What is this?", text)
    assert parse_pairs(reply(*pair, single=False)).pairs == [(pair[0], clean_text(text))]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"3 \times 4 \neq 5", r"3 \times 4 \neq 5"),
        (r"\\frac{1}{2} \times 3\nu", "\\frac{1}{2} \\times 3\nu"),  # mixed: certain commands, and a real new line
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
        (r"\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
        (r"$x \in \mathbb{R}$,\nso $\nu > 0$ and\n$e > 2$", "$x \\in \\mathbb{R}$,\nso $\\nu > 0$ and\n$e > 2$"),
        (r"\highlight{a} and \twoline{b}", r"\highlight{a} and \twoline{b}"),  # a document's own commands
        (r"They\'re Ada\'s.", "They're Ada's."),
        (r"Does \bword\b match?", r"Does \bword\b match?"),
        (r"\u00e9 \u03bd \underline{x}", "é ν \\underline{x}"),
        (r"$\tan x$ \to $\top$", r"$\tan x$ \to $\top$"),
        ('$A^\\top$ \\"quoted\\" \\/ slash', '$A^\\top$ "quoted" / slash'),
    ],
)
def test_single_backslashes_are_told_by_what_surrounds_them(written: str, meant: str) -> None:
    assert parse_pairs(f'{{"question": "q", "answer": "{written}"}}').pairs == [("q", meant)]


words = st.text(st.characters(whitelist_categories=["Lu", "Nd"]), min_size=1, max_size=6)
pieces = words | st.sampled_from(
    ["\n", "\t", "\n\n", " ", "\\sqrt{2}", "\\times", "\\theta", "\\frac{1}{2}", '"', "$", "\\\\"]
)


@given(st.lists(pieces, max_size=30).map("".join))
def test_what_is_escaped_properly_comes_back_equal(text: str) -> None:
    text = f"\\alpha {text} \\beta"
    assert json.loads(escape_latex(json.dumps(text)), strict=False) == text


@given(st.text(st.sampled_from('\\"ntrbfu0ae{}$ \n'), max_size=60))
def test_anything_stays_readable_as_json_escapes(text: str) -> None:
    escaped = escape_latex(text)
    position = 0
    while (position := escaped.find("\\", position)) >= 0:
        assert escaped[position + 1 : position + 2] in tuple('"\\/bfnrtu')
        position += 2


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}: set EQUAL_DATA")
@pytest.mark.parametrize(("single", "share"), [(True, 0.999), (False, 1.0)])
def test_real_mathematics_comes_back(single: bool, share: float) -> None:
    import pandas as pd

    pairs = pd.read_parquet(DATA / "math_web_pairs.parquet")
    domains = pd.read_parquet(DATA / "math_web.parquet", columns=["id", "domain"]).set_index("id")["domain"]
    of_mathematics = pairs["doc_id"].map(domains).str.contains("math|physics|chem|stat|quantum")
    target = pd.read_parquet(DATA / "targets" / "math.parquet")
    for table in (pairs[of_mathematics] if single else pairs, target):
        equal = [
            parse_pairs(reply(*pair, single=single)).pairs == [tuple(map(clean_text, pair))]
            for pair in zip(table["question"], table["answer"], strict=True)
        ]
        assert len(equal) >= 5000
        assert sum(equal) >= share * len(equal)
