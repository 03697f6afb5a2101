"""Which files a person means by a file, a folder, a glob or a split, and what is said of the others."""

from __future__ import annotations

import json
import logging
import os

import pytest

from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.file_rows import DatasetName
from equal_hf.corpus.open_dataset import list_files, read_corpus
from equal_hf.corpus.read_documents import ReadReport
from equal_hf.corpus.source_files import find_files
from equal_hf.errors import CorpusError

LONG = "A text that is long enough to count as a document: it has more than fifty characters."


def corpus(source, **settings):
    return CorpusConfig(corpus=str(source), **settings)


def read(source, **settings):
    return list(read_corpus(corpus(source, **settings), ReadReport()))


@pytest.fixture
def chapters(tmp_path):
    """A folder in which two formats lie at two depths, under names that are split names elsewhere."""
    folder = tmp_path / "chapters"
    (folder / "part two").mkdir(parents=True)
    for name in ("chapter1.txt", "train.txt", "test.md", "part two/validation.txt", "part two/Chapter3.MD"):
        (folder / name).write_text(f"{LONG}\n\n{name}\n", encoding="utf-8")
    rows = [{"text": f"{LONG} {number}", "id": f"00{number}"} for number in range(3)]
    (folder / "train-notes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_a_folder_is_all_of_its_files_whatever_they_are_called(chapters):
    documents = {document.id: document for document in read(chapters, id_column="id")}
    texts = ["chapter1.txt", "part two/Chapter3.MD", "part two/validation.txt", "test.md", "train.txt"]
    assert sorted(documents) == sorted([*texts, "000", "001", "002"])
    for name in texts:
        assert documents[name].text == f"{LONG}\n\n{name}\n"
        assert documents[name].metadata == {"source": name}


def test_a_text_file_is_one_document_under_its_path_whatever_the_columns_are_called(chapters):
    (chapters / "train-notes.jsonl").unlink()
    by_path = [(document.id, document.metadata) for document in read(chapters, text_column="body")]
    assert by_path == [(name, {"source": name}) for name, _ in sorted(by_path)] and len(by_path) == 5
    assert [document.metadata for document in read(chapters, metadata_columns=[])] == [{}] * 5


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["chapter1.txt", "train.txt"]),
        ("**/*.txt", ["chapter1.txt", "part two/validation.txt", "train.txt"]),
        ("part*", ["part two/Chapter3.MD", "part two/validation.txt"]),
        ("t??t.md", ["test.md"]),
        ("[ct]*.txt", ["chapter1.txt", "train.txt"]),
    ],
)
def test_a_glob_is_what_it_matches_with_paths_below_its_fixed_part(chapters, pattern, names):
    assert [document.id for document in read(chapters / pattern)] == names


@pytest.mark.parametrize("name", ["data [v2]", "100% {new} * really?", "hé 数"])
def test_a_path_that_exists_is_no_pattern(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a[1].txt").write_text(LONG, encoding="utf-8")
    assert [document.id for document in read(folder)] == ["a[1].txt"]
    assert [document.id for document in read(folder / "a[1].txt")] == ["a[1].txt"]


def test_what_is_not_read_is_named_and_counted(chapters, caplog):
    for number in range(5):
        (chapters / f"picture{number}.png").write_bytes(b"\x89PNG")
    (chapters / "LICENSE").write_text("MIT")
    (chapters / "nothing.csv").write_text("")
    (chapters / ".git").mkdir()
    (chapters / ".git/HEAD.txt").write_text(LONG)
    (chapters / "gone.txt").symlink_to(chapters / "nowhere.txt")
    problems = {file.relative: file.problem for file in list_files(corpus(chapters)) if file.problem}
    assert problems.pop("gone.txt").startswith("no file that can be read")
    assert problems.pop("LICENSE") == "a file without an ending"
    assert problems.pop("nothing.csv") == "an empty file"
    assert problems.pop(".git") == "a hidden folder"
    assert set(problems.values()) == {"a .png file"} and len(problems) == 5
    from equal_hf.corpus import open_dataset

    with caplog.at_level(logging.WARNING):
        open_dataset(str(chapters))
    assert "9 files are not read: a .png file (picture0.png, picture1.png, picture2.png and 2 more); " in caplog.text


def test_links_are_followed_and_a_circle_of_them_ends(chapters, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.txt").write_text(f"{LONG} linked", encoding="utf-8")
    (chapters / "more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(chapters)
    ids = [document.id for document in read(chapters)]
    assert ids.count("more/linked.txt") == 1 and len(ids) == 9


def test_a_split_that_is_asked_for_is_the_files_called_like_it(tmp_path):
    for name in ("train.jsonl", "dev.jsonl", "test/a.jsonl", "train-set.jsonl", "latest.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"text": f"{LONG} {name}"}) + "\n")

    def names(split):
        return [file.relative for file in find_files(DatasetName(str(tmp_path), split=split))]

    assert len(names(None)) == 5
    assert names("train") == ["train.jsonl"]
    assert names("validation") == names("dev") == ["dev.jsonl"]
    assert names("test") == ["test/a.jsonl"]
    with pytest.raises(CorpusError, match=r'split \'nope\'.*cannot be opened: Unknown split "nope".*latest, '):
        names("nope")


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("train[:3]", [0, 1, 2]), ("train[8:]", [8, 9]), ("train[50%:70%]", [5, 6]), ("train[-1:]+train[:1]", [9, 0])],
)
def test_a_slice_is_those_rows_over_all_files(tmp_path, split, numbers):
    for place, part in enumerate((range(4), range(4, 10))):
        rows = [json.dumps({"text": f"{LONG} {number}", "number": number}) for number in part]
        (tmp_path / f"{place}.jsonl").write_text("\n".join(rows))
    assert [document.metadata["number"] for document in read(tmp_path, corpus_split=split)] == numbers


def test_a_folder_that_declares_its_files_is_read_as_it_says(tmp_path):
    (tmp_path / "a.csv").write_text(f"id;text\n007;{LONG} one\n")
    (tmp_path / "other.csv").write_text(f"id;text\n008;{LONG} two\n")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: a.csv\n  sep: ';'\n---\n# Data\n"
    )
    assert [document.id for document in read(tmp_path, id_column="id")] == ["007"]


def test_a_card_beside_the_data_is_no_document_and_a_plain_readme_is(tmp_path):
    (tmp_path / "a.txt").write_text(LONG)
    (tmp_path / "README.md").write_text(f"---\nlicense: mit\n---\n{LONG}")
    assert [document.id for document in read(tmp_path)] == ["a.txt"]
    (tmp_path / "README.md").write_text(f"# Title\n\n{LONG}")
    assert [document.id for document in read(tmp_path)] == ["README.md", "a.txt"]


def test_a_file_that_changes_has_another_identity(chapters):
    before = {file.name: file.identity for file in list_files(corpus(chapters))}
    os.utime(chapters / "train.txt", ns=(1, 1))
    after = {file.name: file.identity for file in list_files(corpus(chapters))}
    assert [name for name in before if before[name] != after[name]] == [str(chapters / "train.txt")]


def test_a_folder_without_any_file_says_so(tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(CorpusError, match=r"cannot be opened: it holds no files\. Name"):
        read(tmp_path)


@pytest.mark.parametrize("name", [".hidden.txt", "README.md", "NOTES.TXT"])
def test_a_file_that_is_named_by_itself_is_meant(tmp_path, name):
    (tmp_path / name).write_text(f"---\ntitle: x\n---\n{LONG}")
    assert [document.id for document in read(tmp_path / name)] == [name]


def test_endings_are_known_in_capitals_too(tmp_path):
    (tmp_path / "A.TSV").write_text(f"id\ttext\n007\t{LONG}, and more\n")
    assert [document.id for document in read(tmp_path, id_column="id")] == ["007"]
