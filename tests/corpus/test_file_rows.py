"""Values come out of files as they stand in them, and what is damaged is named with its line."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import json
import lzma

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.file_rows import UnreadableFile
from equal_hf.corpus.open_dataset import read_corpus
from equal_hf.corpus.read_documents import ReadReport
from equal_hf.errors import CorpusError

LONG = "A text that is long enough to count as a document; it has more than fifty characters."
IDS = [
    "007",
    "1e5",
    "1.50",
    "0x1F",
    "99999999999999999999999999",
    "2024-01-01",
    "NA",
    "null",
    "true",
    " padded ",
    "-0",
]


def read(path, **settings):
    report = ReadReport()
    return list(read_corpus(CorpusConfig(corpus=str(path), **settings), report)), report


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv.gz", ".arrow"])
def test_ids_that_are_text_stay_that_text(tmp_path, ending):
    table = pd.DataFrame({"id": IDS, "text": [f"{LONG} {number}" for number in range(len(IDS))]})
    path = tmp_path / f"rows{ending}"
    if ".csv" in ending:
        table.to_csv(path, index=False)
    elif ending == ".tsv":
        table.to_csv(path, index=False, sep="\t")
    elif ending.startswith(".json"):
        table.to_json(path, orient="records", lines=ending == ".jsonl")
    elif ending == ".parquet":
        table.to_parquet(path)
    else:
        with pa.ipc.new_stream(str(path), pa.Schema.from_pandas(table)) as writer:
            writer.write_table(pa.Table.from_pandas(table))
    documents, _ = read(path, id_column="id")
    assert [document.id for document in documents] == IDS
    documents, _ = read(path)
    assert [document.metadata["source_id"] for document in documents] == IDS


def test_ids_that_are_numbers_are_written_as_they_are(tmp_path):
    written = ["7", "1e5", "1E5", "1.50", "18446744073709551615", "123456789012345678901234567890", "true"]
    rows = [f'{{"id": {value}, "text": "{LONG} {value}"}}' for value in written]
    (tmp_path / "a.jsonl").write_text(
        "\n".join([*rows, f'{{"id": "007", "text": "{LONG}"}}', f'{{"text": "{LONG}!"}}'])
    )
    documents, report = read(tmp_path / "a.jsonl", id_column="id")
    assert [document.id for document in documents] == [*written[:-1], "True", "007"]
    assert report.dropped == {"null_id": 1}


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array([2**63, 7], pa.uint64()), [str(2**63), "7"]),
        (pa.array([1.0, None], pa.float64()), ["1.0"]),
        (pa.array([1.0, float("nan")]), ["1.0"]),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")]), ["1.50", "2.00"]),
        (pa.array([datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)]), ["2024-01-02", "2024-01-03"]),
        (pa.array(["", "b"]), ["b"]),
    ],
)
def test_ids_of_a_parquet_column_of_any_type(tmp_path, values, ids):
    pq.write_table(pa.table({"id": values, "text": [LONG, f"{LONG} 2"]}), tmp_path / "a.parquet")
    documents, report = read(tmp_path / "a.parquet", id_column="id")
    assert [document.id for document in documents] == ids
    assert report.dropped == ({"null_id": 1} if len(ids) == 1 else {})


def test_nested_ids_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": ["a"], "text": LONG}))
    with pytest.raises(CorpusError, match=r"a\.jsonl: Column 'id' holds list values.*`id_column`"):
        read(tmp_path / "a.jsonl", id_column="id")


def test_values_of_a_csv_file_are_text_and_an_empty_one_is_missing(tmp_path):
    (tmp_path / "a.csv").write_text(f'text,zip,when,score,flag\n"{LONG}\n""quoted"", and more",01234,2024-01-01,,NA\n')
    (document,), _ = read(tmp_path / "a.csv")
    assert document.text == f'{LONG}\n"quoted", and more'
    assert document.metadata == {"zip": "01234", "when": "2024-01-01", "score": None, "flag": "NA"}


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_row_numbers_of_pandas_are_metadata_only_where_they_are_asked_for(tmp_path, ending):
    table = pd.DataFrame({"text": [LONG], "n": [3]}, index=[3])  # as is left of a larger table
    if ending == "parquet":
        table.to_parquet(tmp_path / "a.parquet")
        assert "__index_level_0__" in pq.read_schema(tmp_path / "a.parquet").names
    else:
        (tmp_path / "a.jsonl").write_text(json.dumps({"text": LONG, "__index_level_0__": 3, "n": 3}))
    assert [document.metadata for document in read(tmp_path)[0]] == [{"n": 3}]
    (document,) = read(tmp_path, metadata_columns=["__index_level_0__"])[0]
    assert document.metadata == {"__index_level_0__": 3}
    (document,) = read(tmp_path, id_column="__index_level_0__")[0]
    assert (document.id, document.metadata) == ("3", {"n": 3})


def test_lists_and_nested_values_are_carried_as_json_and_bytes_are_not(tmp_path):
    table = {
        "text": [LONG],
        "tags": [["a", "ü"]],
        "meta": [{"url": "u", "deep": {"n": 1}}],
        "when": pa.array([[datetime.date(2024, 1, 2)]]),
        "blob": [b"bytes"],
        "blobs": [[b"bytes"]],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (document,), report = read(tmp_path / "a.parquet")
    assert document.metadata == {
        "tags": '["a", "ü"]',
        "meta": '{"url": "u", "deep": {"n": 1}}',
        "when": '["2024-01-02"]',
    }
    assert report.as_json == {"tags", "meta", "when"} and report.left_out == {"blob", "blobs"}
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": LONG, "tags": ["a"], "meta": {"k": None}, "n": None}))
    (document,), report = read(tmp_path / "a.jsonl")
    assert document.metadata == {"tags": '["a"]', "meta": '{"k": null}', "n": None}
    assert report.as_json == {"tags", "meta"}


def test_columns_that_only_later_rows_have_are_carried(tmp_path):
    rows = [{"text": f"{LONG} {number}"} | ({"late": number} if number == 50 else {}) for number in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    documents, _ = read(tmp_path / "a.jsonl", metadata_columns=["late"])
    assert documents[50].metadata == {"late": 50} and documents[0].metadata == {}


LINES = "\n".join(json.dumps({"text": f"{LONG} {number}"}) for number in range(200))


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-30], r"line 1\d\d: the compressed data ends too soon"),
        ("a.jsonl.bz2", bz2.compress(LINES.encode())[:-30], "line 1: the compressed data ends too soon"),
        ("a.txt.xz", lzma.compress(LINES.encode())[:-30], "the compressed data ends too soon"),
        ("a.csv.gz", b"no gzip at all", "[Nn]ot a gzipped file"),
        ("a.jsonl", b'{"text": "one"}\n\n{"text": "tw', r"line 3: Unterminated string.*\(column 10\)"),
        ("a.jsonl", b'{"text": "one"}\n["two"]\n', r'line 2: a row is to be an object, and this is \["two"\]'),
        ("a.jsonl", '{"text": "café"}'.encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
        ("a.json", b'[{"text": "one"},\n{"text" "two"}]', "line 2: Expecting ':' delimiter"),
        ("a.json", b'[{"text": "one"}, 7]', "row 2: a row is to be an object"),
        ("a.csv", "id,text\n1,one\n2,café\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", b'id,text\n1,"two\nlines"\n2,three,four\n', "line 4: 3 values where the header names 2 columns"),
        ("a.csv", b'id,text\n1,one\n2,"never closed\n3,x\n', "line 3: unexpected end of data"),
        ("a.csv", b"text,text\n1,one\n", "two columns are called 'text'"),
        ("a.txt", b"one\ntwo \xff\n", "line 2: byte 0xff is not UTF-8"),
        ("a.jsonl", gzip.compress(LINES.encode(), mtime=0), r"line 1: it is compressed, .* end in \.gz"),
        ("a.csv", lzma.compress(LINES.encode()), r"it is compressed, .* end in \.xz"),
        ("a.json", bz2.compress(LINES.encode()), r"it is compressed, .* end in \.bz2"),
        ("a.txt", b"\x28\xb5\x2f\xfd\x04\x00", r"it is compressed, .* end in \.zst"),
        (
            "a.jsonl",
            b'{"text": "one"}\n{"n": ' + b"7" * 5000 + b"}",
            "line 2: .* more than 4,300 digits; write it as text",
        ),
        ("a.json", b'[{"n": ' + b"7" * 5000 + b"}]", "a whole number has more than 4,300 digits"),
        ("a.parquet", b"PAR1 this is no Parquet file", "Parquet"),
        ("a.arrow", b"no arrow", ""),
    ],
)
def test_a_damaged_file_is_named_with_the_place_and_the_cause(tmp_path, name, content, cause):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UnreadableFile, match=rf"The file .*{name} of the corpus cannot be read: .*{cause}.*`on_bad_file`"
    ):
        read(tmp_path / name, min_characters=1)


def test_two_columns_of_one_name_are_refused(tmp_path):
    pq.write_table(pa.table([pa.array([LONG]), pa.array([LONG])], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(UnreadableFile, match="two columns are called 'text'"):
        read(tmp_path / "a.parquet")


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(CorpusError, match=r"a\.jsonl cannot be opened: 1 file is not read: an empty file"):
        read(tmp_path / "a.jsonl")


def test_other_separators_are_named_where_the_columns_are_missing(tmp_path):
    (tmp_path / "a.csv").write_text("id;text\n1;one\n")
    with pytest.raises(CorpusError, match=r"a\.csv: .*no column 'text'; it has 'id;text'.*separated by commas"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv"])
def test_a_byte_order_mark_is_no_text(tmp_path, ending, encoding):
    text = f"{LONG} Größe 数"
    content = {".txt": text, ".jsonl": json.dumps({"text": text}, ensure_ascii=False), ".csv": f"text,n\n{text},1\n"}
    raw = content[ending].encode(encoding)
    (tmp_path / f"a{ending}").write_bytes(b"\xfe\xff" + raw if encoding == "utf-16-be" else raw)
    (document,), _ = read(tmp_path / f"a{ending}")
    assert document.text == text


def test_a_lone_surrogate_costs_its_row_or_its_character(tmp_path):
    rows = [{"text": f"{LONG} \ud83d"}, {"text": LONG, "title": "a \ud83d b", "tags": ["\ud83d"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (document,), report = read(tmp_path / "a.jsonl")
    assert report.dropped == {"not_text": 1}
    assert document.metadata == {"title": "a \ufffd b", "tags": '["\ufffd"]'}


def test_a_folder_that_datasets_saved_is_read(tmp_path):
    Dataset.from_dict({"text": [LONG, f"{LONG} 2"], "n": [1, 2]}).save_to_disk(tmp_path / "saved")
    documents, _ = read(tmp_path / "saved")
    assert [document.metadata for document in documents] == [{"n": 1}, {"n": 2}]
