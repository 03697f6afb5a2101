from dataclasses import replace

import pytest

from equal_hf.corpus.config import CorpusConfig
from equal_hf.corpus.sample_texts import sample_texts
from equal_hf.errors import CorpusError


def test_of_a_folder_of_documents_some_are_read(tmp_path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(f"Document number {number}. " * 10)
    (tmp_path / "40.txt").write_bytes(b"\xff" * 100)
    config = CorpusConfig(corpus=str(tmp_path), on_bad_file="skip")
    texts, total = sample_texts(config, 5, 0)
    assert (
        len(set(texts)) == 5
        and total == 41
        and texts == sample_texts(config, 5, 0)[0] != sample_texts(config, 5, 1)[0]
    )
    assert len(sample_texts(config, 100, 0)[0]) == 40
    with pytest.raises(CorpusError, match=r"40\.txt of the corpus cannot be read"):
        sample_texts(replace(config, on_bad_file="stop"), 100, 0)
