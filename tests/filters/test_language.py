"""Pairs in another language than their document; short texts and formulas are nobody's language."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.filters.language import LanguageFilter, document_languages, prose
from equal_hf.types import Document, QAPair

TEXTS = {
    "en": "The mill beside the river was built by two brothers who had come from the mountains with tools only.",
    "de": "Die Mühle am Fluss wurde von zwei Brüdern gebaut, die nur mit Werkzeug aus den Bergen gekommen waren.",
    "fr": "Le moulin au bord de la rivière fut bâti par deux frères venus des montagnes avec seulement leurs outils.",
    "es": "El molino junto al río fue construido por dos hermanos que habían venido de las montañas sin otra cosa.",
    "ru": "Мельницу у реки построили два брата, которые пришли с гор, не имея ничего, кроме своих инструментов.",
    "zh": "河边的磨坊是两兄弟建造的，他们从山里来，除了工具之外什么都没有，后来他们在村里住了很多年。",
}
FILTER = LanguageFilter()


@pytest.mark.parametrize("written", TEXTS)
@pytest.mark.parametrize("said", TEXTS)
def test_pairs_have_to_be_in_their_documents_language(written, said):
    document = Document("d", TEXTS[written] * 3)
    expected = None if written == said else "wrong_language"
    assert FILTER.check(QAPair(TEXTS[said], "42", "d"), document) == expected
    assert FILTER.check(QAPair("?", TEXTS[said], "d"), document) == expected


def test_a_document_may_have_two_languages():
    document = Document("d", (TEXTS["en"] + " ") * 80 + (TEXTS["de"] + " ") * 80)
    assert document_languages(document.text) == {"en", "de"}
    assert FILTER.check(QAPair(TEXTS["de"], TEXTS["en"], "d"), document) is None
    assert FILTER.check(QAPair(TEXTS["fr"], TEXTS["en"], "d"), document) == "wrong_language"


@pytest.mark.parametrize(
    "answer",
    [
        "Oui.",
        "$\\frac{1}{2} + \\sqrt{x} = \\alpha$ " * 9,
        "```\nfor wert in liste: ausgabe(wert) # Dies ist die Ausgabe aller Werte dieser langen Liste hier\n```",
        "https://example.org/die/muehle/am/fluss/wurde/von/zwei/bruedern/gebaut/die/aus/den/bergen/kamen",
    ],
)
def test_short_texts_formulas_code_and_addresses_are_undecided(answer):
    assert FILTER.check(QAPair("Why?", answer, "d"), Document("d", TEXTS["en"])) is None


def test_a_document_without_prose_turns_nothing_down():
    assert FILTER.check(QAPair(TEXTS["de"], TEXTS["fr"], "d"), Document("d", "1 + 1 = 2\n" * 50)) is None


@given(st.text(), st.text(), st.text())
def test_any_text_is_judged_without_error(question, answer, text):
    assert FILTER.check(QAPair(question, answer, "d"), Document("d", text)) in (None, "wrong_language")
    assert not any(char.isdecimal() or char in "_$\\`" for char in prose(text))


def test_the_verdict_does_not_depend_on_the_process():
    code = (
        "from equal_hf.filters.language import tell_language; "
        "print([tell_language(t) for t in ('Wie viele Eier legen die Enten?', 'Cuantos huevos', 'what is it')])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
