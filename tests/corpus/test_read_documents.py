from __future__ import annotations

import datetime
import json

import pytest
from datasets import Dataset, Features, IterableDataset, Sequence, Value

from equal_hf.corpus import ReadReport, open_dataset, read_documents
from equal_hf.errors import CorpusError

LONG = "A text that is long enough to count as a document, as it has more than fifty characters."


def read(dataset, **settings):
    report = ReadReport()
    return list(read_documents(dataset, report=report, **settings)), report


def test_every_drop_is_counted_under_its_reason():
    rows = [
        {"text": LONG, "key": 1},
        {"text": None, "key": 2},
        {"text": 7, "key": 3},
        {"text": " \n\t", "key": 4},
        {"text": "  short  " + " " * 100, "key": 5},
        {"text": LONG, "key": 6},
        {"text": LONG + " Other.", "key": None},
        {"text": LONG + " Another.", "key": 1},
        {"text": LONG + " \ud800", "key": 8},
        {"text": LONG + " Last.", "key": 9},
    ]
    documents, report = read(rows, id_column="key")
    assert [document.id for document in documents] == ["1", "9"]
    assert report.dropped == {
        "null": 1,
        "not_text": 2,
        "empty": 1,
        "too_short": 1,
        "duplicate": 1,
        "null_id": 1,
        "duplicate_id": 1,
    }
    assert (report.rows, report.documents) == (10, 2)


def test_the_text_is_kept_whole_and_names_the_document():
    text = f"\n  {LONG}  \n"
    (first,), _ = read(Dataset.from_list([{"text": text}]))
    (again,), _ = read([{"text": text}])
    assert first.text == text and first.cluster == -1
    assert first.id == again.id and len(first.id) == 32


def test_scalar_columns_are_carried_and_taken_names_get_a_prefix():
    when = datetime.datetime(2024, 5, 6, 7, 8)
    dataset = Dataset.from_dict(
        {
            "body": [LONG],
            "text": ["title"],
            "id": [3],
            "cluster": [9],
            "when": [when],
            "score": [0.5],
            "tags": [["a"]],
            "blob": [b"bytes"],
        },
        features=Features(
            {
                "body": Value("large_string"),
                "text": Value("string"),
                "id": Value("int64"),
                "cluster": Value("int32"),
                "when": Value("timestamp[us]"),
                "score": Value("float32"),
                "tags": Sequence(Value("string")),
                "blob": Value("binary"),
            }
        ),
    )
    expected = {"source_text": "title", "source_id": 3, "source_cluster": 9, "when": when, "score": 0.5}
    expected |= {"tags": '["a"]'}
    (document,), report = read(dataset, text_column="body")
    assert document.metadata == expected
    assert report.as_json == {"tags"} and report.left_out == {"blob"}
    (streamed,), _ = read([dict(dataset[0], blob=b"bytes")], text_column="body")
    assert streamed.metadata == expected
    (named,), _ = read(dataset, text_column="body", metadata_columns=["score", "tags"])
    assert named.metadata == {"score": 0.5, "tags": '["a"]'}
    (by_id,), _ = read(dataset, text_column="body", id_column="id")
    assert by_id.id == "3" and "source_id" not in by_id.metadata


def test_one_name_where_a_list_is_meant_is_a_list_of_one():
    (document,), _ = read([{"text": LONG, "tag": 1, "t": 2}], metadata_columns="tag")
    assert document.metadata == {"tag": 1}


def test_two_columns_cannot_be_carried_under_one_name():
    with pytest.raises(CorpusError, match=r"'source_id'.*`metadata_columns`"):
        read([{"text": LONG, "id": 1, "source_id": 2}])
    documents, _ = read([{"text": LONG, "id": 1, "source_id": 2}], id_column="id")
    assert documents[0].metadata == {"source_id": 2}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("setting", ["text_column", "id_column", "metadata_columns"])
def test_a_missing_column_is_refused_at_the_call_with_those_that_exist(streaming, setting):
    dataset = Dataset.from_list([{"body": LONG, "url": "u"}])
    if streaming:
        dataset = IterableDataset.from_generator(lambda: iter([{"body": LONG, "url": "u"}]))
        assert dataset.features is None
    settings = {"text_column": "body", setting: ["content"] if setting == "metadata_columns" else "content"}
    with pytest.raises(CorpusError, match=rf"no column 'content'.*'body', 'url'.*`{setting}`"):
        read_documents(dataset, report=ReadReport(), **settings)


def test_a_text_column_of_another_type_is_refused_with_those_that_hold_text():
    dataset = Dataset.from_list([{"text": 3, "body": LONG, "tags": ["a"]}])
    with pytest.raises(CorpusError, match=r"'text' holds int64.*`text_column`.*'body'"):
        read_documents(dataset, report=ReadReport())
    with pytest.raises(CorpusError, match=r"'tags' holds .*, not text"):
        read_documents(dataset, text_column="tags", report=ReadReport())


def test_a_dictionary_of_splits_is_refused():
    from datasets import DatasetDict

    with pytest.raises(CorpusError, match="splits \\(train, test\\)"):
        read(DatasetDict(train=Dataset.from_list([{"text": LONG}]), test=Dataset.from_list([{"text": LONG}])))


def test_a_formatted_dataset_gives_plain_values():
    dataset = Dataset.from_list([{"text": LONG, "number": 3}]).with_format("numpy")
    (document,), _ = read(dataset)
    assert type(document.metadata["number"]) is int


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz", "csv", "folder"])
def test_local_sources_open(tmp_path, kind):
    texts = [f"{LONG} {number}" for number in range(5)]
    dataset = Dataset.from_dict({"text": texts, "number": range(5)})
    path = tmp_path / f"documents.{kind}"
    if kind == "folder":
        path.mkdir()
        dataset.to_parquet(path / "part.parquet")
    elif kind == "parquet":
        dataset.to_parquet(path)
    elif kind == "csv":
        dataset.to_csv(path)
    else:
        dataset.to_json(path, compression="gzip" if kind.endswith("gz") else None)
    documents, report = read(open_dataset(str(path)))
    assert [document.text for document in documents] == texts
    # What a CSV file holds is text.
    numbers = [str(number) if kind == "csv" else number for number in range(5)]
    assert [document.metadata["number"] for document in documents] == numbers
    assert report.documents == 5


def test_sources_that_are_not_there_or_hold_nothing_name_the_setting(tmp_path):
    with pytest.raises(CorpusError, match="`corpus`: nothing is at"):
        open_dataset(str(tmp_path / "none.parquet"))
    with pytest.raises(CorpusError, match=r"`corpus`: nothing is at none\.jsonl"):
        open_dataset("none.jsonl")
    with pytest.raises(CorpusError, match=r"`corpus`: the folder .* is empty"):
        open_dataset(str(tmp_path))
    (tmp_path / "notes.docx").write_bytes(b"no")
    with pytest.raises(CorpusError, match=r"`corpus`: the file .* is none of \.parquet"):
        open_dataset(str(tmp_path / "notes.docx"))
    with pytest.raises(CorpusError, match=r"`corpus`: .* cannot be opened"):
        open_dataset(str(tmp_path))


def test_a_split_that_is_not_there_and_a_damaged_file_are_named(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.jsonl").write_text(json.dumps({"text": LONG}) + "\n")
    with pytest.raises(CorpusError, match=r"split 'validation'.*cannot be opened.*Unknown split"):
        open_dataset(str(folder), split="validation")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 this is no Parquet file")
    with pytest.raises(CorpusError, match=r"The file .*broken\.parquet of the corpus cannot be read"):
        list(open_dataset(str(broken)))
