"""Questions from doctests: what stands before them, the outputs that are none, and nothing ever executed."""

import textwrap
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.extraction.explicit.doctests import MAX_CHARACTERS, MAX_CONTEXT, QUESTION, doctest_pairs
from equal_hf.types import Document, QAPair, Rejection


def read(text: str) -> list[QAPair | Rejection]:
    return list(doctest_pairs(Document("d", textwrap.dedent(text), cluster=3)))


def code_of(pair: QAPair) -> str:
    before, after = f"{QUESTION}\n\n```python\n", "\n```"
    assert pair.question.startswith(before) and pair.question.endswith(after)
    return pair.question[len(before) : -len(after)]


def codes(text: str) -> list[str]:
    items = read(text)
    assert all(isinstance(item, QAPair) for item in items), items
    return [code_of(item) for item in items]


def test_a_pair_carries_its_lines_its_output_and_its_place():
    text = "Intro.\n\n>>> import math\n>>> math.pi\n3.14\n>>> math.floor(2.5)\n2\n\nProse.\n"
    _, pair = doctest_pairs(Document("d7", text, cluster=3))
    assert code_of(pair) == "import math\nmath.floor(2.5)"
    assert (pair.answer, pair.method, pair.document_id, pair.cluster) == ("2", "doctest", "d7", 3)
    start, end = pair.span
    assert text[start:end] == ">>> import math\n>>> math.pi\n3.14\n>>> math.floor(2.5)\n2"


@pytest.mark.parametrize(
    ("session", "wanted"),
    [
        (">>> a = 1\n>>> b = a + 1\n>>> c = 9\n>>> b\n2", "a = 1\nb = a + 1\nc = 9\nb"),
        (">>> a = 1\n>>> a = 2\n>>> a\n2", "a = 1\na = 2\na"),
        (">>> a = 1\n>>> a += 1\n>>> a\n2", "a = 1\na += 1\na"),
        (">>> x = []\n>>> x.append(1)\n>>> len(x)\n1", "x = []\nx.append(1)\nlen(x)"),
        (">>> x = [1]\n>>> len(x)\n1\n>>> x\n[1]", "x = [1]\nx"),
        (">>> x = [1]\n>>> x.pop()\n1\n>>> x\n[]", "x = [1]\nx.pop()\nx"),
        (">>> x = {}\n>>> x['a'] = 1\n>>> x\n{'a': 1}", "x = {}\nx['a'] = 1\nx"),
        (">>> x = f()\n>>> x.y.z = 1\n>>> x.y\n1", "x = f()\nx.y.z = 1\nx.y"),
        (">>> t = iter('ab')\n>>> next(t)\n'a'\n>>> next(t)\n'b'", "t = iter('ab')\nnext(t)\nnext(t)"),
        (">>> def f(n):\n...     return n + k\n>>> k = 1\n>>> k\n1", "def f(n):\n    return n + k\nk = 1\nk"),
        (
            ">>> k = 1\n>>> def f(n):\n...     return n + k\n>>> f(2)\n3",
            "k = 1\ndef f(n):\n    return n + k\nf(2)",
        ),
        (">>> x = 5\n>>> [x for x in range(2)]\n[0, 1]", "x = 5\n[x for x in range(2)]"),
        (">>> x = [5]\n>>> [x for x in x]\n[5]", "x = [5]\n[x for x in x]"),
        (">>> (y := 2)\n2\n>>> y + 1\n3", "(y := 2)\ny + 1"),
        (">>> t = zeros(2)\n>>> t.add_(1)\n[1, 1]\n>>> t.sum()\n2\n>>> t\n[1, 1]", "t = zeros(2)\nt.add_(1)\nt"),
        (">>> s = 0\n>>> for i in range(3):\n...     s += i\n>>> s\n3", "s = 0\nfor i in range(3):\n    s += i\ns"),
        (">>> from m import *\n>>> y = 2\n>>> solve(q)\n3", "from m import *\ny = 2\nsolve(q)"),
        (
            ">>> from mpmath import *\n>>> mp.dps = 15\n>>> mp.dps = 30\n>>> pi\n3.14",
            "from mpmath import *\nmp.dps = 15\nmp.dps = 30\npi",
        ),
        (
            ">>> from mpmath import *\n>>> mp.dps = 15; mp.pretty = True\n>>> mp.dps = 30\n>>> pi\n3.14",
            "from mpmath import *\nmp.dps = 15; mp.pretty = True\nmp.dps = 30\npi",
        ),
        (
            ">>> import numpy as np\n>>> np.random.seed(0)\n>>> np.mean([1])\n1.0",
            "import numpy as np\nnp.random.seed(0)\nnp.mean([1])",
        ),
        (
            ">>> from sympy import init_printing, pi\n>>> init_printing()\n>>> pi\n3",
            "from sympy import init_printing, pi\ninit_printing()\npi",
        ),
        (">>> x = 3; x\n3", "x = 3; x"),
        (">>> f(2)  # doctest: +NORMALIZE_WHITESPACE\n4", "f(2)"),
        (
            ">>> try:\n...     g()\n... except ValueError as e:\n...     print(e)\nno",
            "try:\n    g()\nexcept ValueError as e:\n    print(e)",
        ),
        (">>> g = lambda y: y * n\n>>> n = 2\n>>> n\n2", "g = lambda y: y * n\nn = 2\nn"),
    ],
)
def test_the_question_holds_every_earlier_statement_that_does_more_than_show_a_value(session, wanted):
    assert codes(session)[-1] == wanted


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (
            ">>> 1 / 0\nTraceback (most recent call last):\n    ...\nZeroDivisionError: division by zero",
            "doctest_traceback",
        ),
        (">>> f()\nTraceback (most recent call last):", "doctest_traceback"),
        (">>> f()  # doctest: +SKIP\n1", "doctest_skipped"),
        (">>> range(99)\n[0, 1, ..., 98]", "doctest_ellipsis"),
        (">>> object()\n<object object at 0x7f3c>", "doctest_address"),
        (">>> rng.random()\n0.3 # may vary", "doctest_varies"),
        (">>> rng.random()  # random\n0.3", "doctest_varies"),
        (">>> x = 1\nThis sets x.", "doctest_no_expression"),
        (">>> f(1); f(2)\n1\n2", "doctest_several_outputs"),
        (">>> y + 1\n3", "doctest_undefined_name"),
        (">>> _\n3", "doctest_undefined_name"),
        (">>> b = a + 1\n>>> b\n2", "doctest_undefined_name"),
        (">>> f(\n1", "doctest_unparsable"),
        (">>>f(1)\n1", "doctest_unparsable"),
        (">>> f(1)  # doctest: +IGNORE_RESULT\n1", "doctest_unparsable"),
        (">>> f('\0')\n1", "doctest_unparsable"),
        (">>> " + "(" * 400 + "1" + ")" * 400 + "\n1", "doctest_unparsable"),
        (">>> '" + "x" * 2000 + "'\n1", "doctest_too_long"),
        (">>> f()\n" + "long line\n" * 300, "doctest_too_long"),
        (">>> f(\n" + "... 1,\n" * 800 + "... )\n1", "doctest_too_long"),
        (">>> x = 0\n" + ">>> x += 1\n" * (MAX_CONTEXT + 1) + ">>> x\n31", "doctest_too_long"),
    ],
)
def test_what_makes_no_pair_is_counted(session, reason):
    [item] = read(session)
    assert isinstance(item, Rejection)
    assert (item.reason, item.document_id) == (reason, "d")
    assert len(item.question) <= MAX_CHARACTERS


def test_a_function_or_module_that_the_text_describes_needs_no_definition():
    assert codes(">>> np.add(1, 2)\n3\n>>> solve('x')\n4") == ["np.add(1, 2)", "solve('x')"]


def test_statements_without_output_are_no_questions():
    assert read(">>> x = 1\n>>> f(x)\n\n>>> # a remark\n>>> import os\n") == []


def test_a_broken_block_does_not_take_others_along():
    items = read(">>>bad\n1\n\n>>> 1 + 1\n2\n\n>>> )\n3\n")
    assert [getattr(item, "reason", "pair") for item in items] == ["doctest_unparsable", "pair", "doctest_unparsable"]


def test_a_closing_fence_is_no_output():
    [pair] = read("```python\n>>> 1 + 1\n2\n```\n")
    assert pair.answer == "2"


def test_output_keeps_its_shape():
    items = read(">>> pprint(x_)\n     2   \n<BLANKLINE>\n    x\n>>> f()\n   7  \n".replace("x_", "'x'"))
    assert [item.answer for item in items] == ["     2\n\n    x", "7"]


def test_indented_docstrings_and_tabs():
    assert codes("    >>> x = 2\n    >>> x\n    2\n\n\t>>> x + 1\n\t3\n") == ["x = 2\nx", "x = 2\nx + 1"]


def test_nothing_is_executed(tmp_path):
    victim = tmp_path / "made"
    read(f">>> open({str(victim)!r}, 'w').close()\n>>> print(open({str(victim)!r}, 'w').write('x'))\n1\n")
    assert not victim.exists()


def test_warnings_about_foreign_code_stay_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [pair] = read(">>> print('\\d')\n\\d\n")
    assert pair.answer == "\\d"


lines = st.sampled_from(
    [
        ">>> x = 1",
        ">>> x.append(2)",
        ">>> x",
        ">>> x = x + y",
        ">>> def f(a):",
        "...     return a",
        "... ",
        ">>> f(x)",
        ">>>bad",
        ">>> (",
        ">>> class A: y = x",
        ">>> lambda: (yield)",
        ">>> import a.b as c, d",
        ">>> from m import *",
        ">>> del x",
        ">>> (x := 3)",
        "1",
        "",
        "  ",
        "```",
        "Traceback (most recent call last):",
        "<BLANKLINE>",
        "\t>>> 1",
    ]
)


@given(st.lists(lines | st.text(max_size=20), max_size=40).map("\n".join) | st.text())
def test_never_raises_and_spans_hold_the_output(text):
    for item in doctest_pairs(Document("d", text)):
        if isinstance(item, QAPair):
            start, end = item.span
            assert 0 <= start < end <= len(text)
            last = item.answer.splitlines()[-1].strip()
            assert last in text[start:end].expandtabs() or "<BLANKLINE>" in text[start:end]
