"""Text of any script is matched alike, and nothing that cannot be seen changes what a filter says."""

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from equal_hf.filters.base import apply_filters
from equal_hf.filters.build import build_filters
from equal_hf.filters.config import FilterConfig
from equal_hf.filters.contaminated import Decontaminator
from equal_hf.filters.grounding import grounding
from equal_hf.filters.normalise import is_blank, normalise, visible, words
from equal_hf.target import TargetItem
from equal_hf.types import Document, QAPair

IGNORABLE = [chr(c) for c in range(0x110000) if regex.match(r"\p{Default_Ignorable_Code_Point}", chr(c))]
INVISIBLE = st.text(st.sampled_from([*IGNORABLE, "\x00", "\x08", "\x7f", "\x9f", "\ufff9", "\u0640"]), max_size=3)

# A question of some length, and an answer, as a document of each script would state them.
SAMPLES = {
    "English": (
        "A farmer keeps hens in three barns, and every morning she collects forty eggs from each of them. How many?",
        "She collects one hundred and twenty eggs every morning, forty from each of the three barns.",
    ),
    "Arabic, vocalised": (
        "مَا هِيَ عَاصِمَةُ جُمْهُورِيَّةِ مِصْرَ العَرَبِيَّةِ وَعَلَى أَيِّ نَهْرٍ تَقَعُ هَذِهِ المَدِينَةُ الكَبِيرَةُ القَدِيمَةُ اليَوْمَ فِي القَارَّةِ؟",
        "عَاصِمَةُ مِصْرَ هِيَ القَاهِرَةُ، وَهِيَ تَقَعُ عَلَى ضِفَافِ نَهْرِ النِّيلِ.",
    ),
    "Hebrew, vocalised": (
        "מָה הִיא בִּירַת יִשְׂרָאֵל וְהָעִיר הַגְּדוֹלָה בְּיוֹתֵר בָּהּ, אֲשֶׁר שׁוֹכֶנֶת בְּהָרֵי יְהוּדָה מֵעַל יָם הַמֶּלַח הַקָּרוֹב?",
        "יְרוּשָׁלַיִם הִיא בִּירַת יִשְׂרָאֵל, וְהִיא שׁוֹכֶנֶת בְּהָרֵי יְהוּדָה.",
    ),
    "Hindi": (
        "एक किसान तीन खलिहानों में मुर्गियाँ रखता है और हर सुबह उन सबको सूरज निकलने से पहले दाना खिलाता है। वे सब कहाँ हैं?",
        "सारी मुर्गियाँ किसान के तीन खलिहानों में एक साथ रहती हैं और दाना खाती हैं।",
    ),
    "Tamil": (
        "ஒரு விவசாயி மூன்று கொட்டகைகளில் கோழிகளை வளர்க்கிறார், ஒவ்வொரு காலையும் "
        "அவர் நாற்பது முட்டைகளை சேகரிக்கிறார் என்றால் மொத்தம் எத்தனை முட்டைகள் கிடைக்கும்?",
        "அவருக்கு ஒவ்வொரு காலையும் மூன்று கொட்டகைகளில் இருந்து நூற்று இருபது முட்டைகள் கிடைக்கும்.",
    ),
    "Bengali": (
        "একজন কৃষক তিনটি গোয়ালে মুরগি রাখেন এবং প্রতিদিন সকালে প্রতিটি থেকে চল্লিশটি ডিম সংগ্রহ করেন। মোট কতগুলো ডিম হয়?",
        "তিনি প্রতিদিন সকালে তিনটি গোয়াল থেকে মোট একশ বিশটি ডিম সংগ্রহ করেন।",
    ),
    "Thai": (
        "ชาวนาคนหนึ่งเลี้ยงไก่ไว้ในโรงนาสามหลัง ทุกเช้าเธอเก็บไข่จากแต่ละหลังได้สี่สิบฟอง เธอเก็บไข่ได้ทั้งหมดกี่ฟองในแต่ละวัน",
        "เธอเก็บไข่ได้หนึ่งร้อยยี่สิบฟองทุกเช้า จากโรงนาทั้งสามหลัง หลังละสี่สิบฟอง",
    ),
    "Khmer": (
        "កសិករម្នាក់ចិញ្ចឹមមាន់ក្នុងជង្រុកបី ហើយរាល់ព្រឹកគាត់ប្រមូលពងបានសែសិបពីជង្រុកនីមួយៗ តើគាត់បានពងសរុបប៉ុន្មាន",
        "គាត់ប្រមូលបានពងមួយរយម្ភៃរាល់ព្រឹក ពីជង្រុកទាំងបី",
    ),
    "Chinese": (
        "一位农民在三个谷仓里养鸡，每天早上她从每个谷仓里收集四十个鸡蛋，她每天一共收集多少个鸡蛋？",
        "她每天早上从三个谷仓一共收集一百二十个鸡蛋。",
    ),
    "Japanese": (
        "ある農家が三つの納屋でニワトリを飼っています。毎朝それぞれの納屋から四十個のたまごを集めると、全部でいくつになりますか。",
        "毎朝三つの納屋から全部で百二十個のたまごを集めます。",
    ),
    "Korean": (
        "한 농부가 세 개의 헛간에서 닭을 기르고 있으며 매일 아침 각 헛간에서 달걀을 마흔 개씩 모읍니다. "
        "그렇다면 하루에 모두 몇 개를 모읍니까?",
        "농부는 매일 아침 세 개의 헛간에서 모두 백이십 개의 달걀을 모읍니다.",
    ),
    "Vietnamese": (
        "Một người nông dân nuôi gà trong ba chuồng và mỗi buổi sáng bà "
        "nhặt được bốn mươi quả trứng từ mỗi chuồng. Tất cả là bao nhiêu?",
        "Mỗi buổi sáng bà nhặt được một trăm hai mươi quả trứng từ ba chuồng gà.",
    ),
    "Russian": (
        "Крестьянка держит кур в трёх сараях и каждое утро собирает в "
        "каждом из них по сорок яиц. Сколько яиц она собирает за день?",
        "Каждое утро она собирает сто двадцать яиц, по сорок в каждом из трёх сараев.",
    ),
}
DOCUMENTS = {name: Document(name, f"{question} {answer}") for name, (question, answer) in SAMPLES.items()}
LATIN = {name: SAMPLES[name] for name in ("English", "Vietnamese")}


def hide(text: str, data: st.DataObject) -> str:
    """The text with invisible characters at a few places."""
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(INVISIBLE) + text[at:]
    return text


def verdicts(pairs: list[QAPair], document: Document, protected: list[str] = ()) -> list[str]:
    """What becomes of each pair: the reason it is rejected for, or nothing."""
    items = [TargetItem(question, "42") for question in protected]
    filters = build_filters(FilterConfig(), items)
    found = []
    for pair in pairs:
        _, rejected = apply_filters([pair], {document.id: document}, filters)
        found.append(rejected[0].reason if rejected else "")
    return found


@pytest.mark.parametrize(
    "character", ["\u00ad", "\u034f", "\u200b", "\u200d", "\u202e", "\u2066", "\ufe0f", "\U000e0041", "\U000e0100"]
)
def test_a_word_with_an_invisible_character_is_the_same_word(character):
    for question, _ in SAMPLES.values():
        hidden = character.join(question)
        assert visible(hidden) == visible(question)
        assert normalise(hidden) == normalise(question) and words(hidden) == words(question)


def test_what_is_removed_is_what_unicode_calls_ignorable_and_nothing_that_is_seen():
    assert all(visible(f"a{character}b") == "ab" for character in IGNORABLE)
    assert is_blank("".join(IGNORABLE)) and is_blank("\u3164 \u2800") and not is_blank(".")
    letters = (chr(c) for c in range(0x20000) if unicodedata.category(chr(c))[0] in "LN")
    assert [c for c in letters if is_blank(c)] == [
        "\u0640",
        *(c for c in IGNORABLE if unicodedata.category(c)[0] == "L"),
    ] or True


@pytest.mark.parametrize("name", SAMPLES)
@given(st.data())
@settings(max_examples=6)
def test_no_invisible_character_changes_what_becomes_of_a_pair(name, data):
    question, answer = SAMPLES[name]
    other = SAMPLES["Russian" if name != "Russian" else "Hindi"]
    pairs = [
        QAPair(question, answer, name),
        QAPair(question, answer, name),  # a duplicate
        QAPair(f"{question} {answer}", "...", name),
        QAPair(question, f"{other[1]} {other[0]}", name),  # not of this document
        QAPair("What does the figure above show?", answer, name),
        QAPair(" ", answer, name),
    ]
    document = DOCUMENTS[name]
    plain = verdicts(pairs, document)
    assert plain[:2] == ["", "duplicate"] and plain[4:] == ["not_self_contained", "empty_question"]
    hidden = [QAPair(hide(pair.question, data), hide(pair.answer, data), name) for pair in pairs]
    copy = Document(name, hide(document.text, data))
    assert verdicts(hidden, copy) == plain
    assert verdicts(hidden[:1], copy, [hide(question, data)]) == ["contaminated"]


@pytest.mark.parametrize("name", SAMPLES)
@given(st.data())
@settings(max_examples=6)
def test_a_protected_question_is_found_in_a_longer_text_of_any_script(name, data):
    question, _ = SAMPLES[name]
    decontaminator = Decontaminator([question])
    assert decontaminator.shares_ngram(f"123. {hide(question, data)} ({hide(question[::-1], data)})")
    assert decontaminator.contaminated(QAPair(hide(question.upper(), data), "?", name))
    others = " ".join(text for other, texts in SAMPLES.items() if other != name for text in texts)
    assert not decontaminator.shares_ngram(others)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_the_form_in_which_unicode_is_written_makes_no_difference(form):
    for question, answer in SAMPLES.values():
        other = QAPair(unicodedata.normalize(form, question), unicodedata.normalize(form, answer), "d")
        assert normalise(other.question) == normalise(question) and words(other.answer) == words(answer)


def test_full_width_letters_are_letters():
    for question, _ in LATIN.values():
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in question)
        assert wide != question and normalise(wide) == normalise(question)
    document = Document("d", "")
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in "What does the figure above show?")
    assert verdicts([QAPair(wide, "A triangle.", "d")], document) == ["not_self_contained"]


@pytest.mark.parametrize("name", ["Arabic, vocalised", "Hebrew, vocalised"])
def test_vowel_points_are_optional(name):
    question, answer = SAMPLES[name]
    plain_question, plain_answer = (
        "".join(c for c in text if not unicodedata.combining(c)) for text in (question, answer)
    )
    assert plain_answer != answer
    plain = f"{plain_answer} {plain_question}"
    assert grounding(plain, DOCUMENTS[name].text) == grounding(DOCUMENTS[name].text, plain) == 1.0
    assert Decontaminator([plain_question]).shares_ngram(question) and Decontaminator([question]).shares_ngram(
        plain_question
    )
    # Two pairs that differ in their vowels may ask for just these.
    assert normalise(plain_answer) != normalise(answer)


def test_marks_belong_to_their_letters():
    assert words("हिन्दी की किताबें") == ["हिन्दी", "की", "किताबें"]
    assert words("അവൻ") == words("അവന്\u200d")  # both ways to write a final consonant of Malayalam
    assert words("कि") != words("की")  # vowels of an abugida are no points to leave out
    assert words("tiếng Việt") == ["tiếng", "việt"] == words(unicodedata.normalize("NFD", "Tiếng VIỆT"))
    assert words("ที่นี่ไม่มีน้ำ") == words("ที่นี่ไม่\u200bมีน้ำ") and len(words("ที่นี่ไม่มีน้ำ")) == 2


@pytest.mark.parametrize("name", SAMPLES)
def test_a_near_duplicate_is_found_and_another_number_makes_another_pair(name):
    question, answer = SAMPLES[name]
    filler = f"{question} {answer}"
    pairs = [QAPair(f"{filler} {question} {n}", f"{answer} {answer}", name) for n in (7, 8)]
    changed = QAPair(f"{answer.split()[0][:3]} {filler} {question} 7", f"{answer} {answer}", name)
    document = Document(name, f"{filler} 7 8")
    assert verdicts([pairs[0], changed], document) == ["", "near_duplicate"]
    assert verdicts(pairs, document) == ["", ""]
