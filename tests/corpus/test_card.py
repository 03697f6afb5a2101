"""The card of a corpus: sizes as they are, licences of the documents, and what a person wrote."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import datasets
import pytest

from equal_hf.corpus import ClusteredCorpus
from equal_hf.corpus.card import card_of_repository, merge_cards
from equal_hf.corpus.provenance import MOST, Provenance
from equal_hf.utils.markdown import join_front_matter, split_front_matter
from tests.corpus.tiny import make_texts


@pytest.fixture(scope="module")
def built(embedder, tmp_path_factory) -> ClusteredCorpus:
    """Documents under two licences and under none, from three sources."""
    rows = make_texts(12)
    for number, row in enumerate(rows):
        row |= {
            "licence": ["CC BY-SA 4.0", "MIT License", None][number % 3],
            "url": f"https://s{number % 3}.org/{number}",
        }
        row["lang"] = "en"
    path = tmp_path_factory.mktemp("licensed") / "corpus"
    return ClusteredCorpus.build(rows, path, embedder=embedder, n_clusters=5, threads=1, show_progress=False)


def test_the_card_says_what_load_dataset_finds(built: ClusteredCorpus, tmp_path: Path):
    said = datasets.load_dataset_builder(built.source, cache_dir=str(tmp_path / "said")).info
    read = datasets.load_dataset(built.source, split="train", cache_dir=str(tmp_path / "read"))
    of = said.splits["train"], read.info.splits["train"]
    assert [(split.num_examples, split.num_bytes) for split in of] == [(48, of[1].num_bytes)] * 2
    assert (said.download_size, said.features) == (read.info.download_size, read.features)


def test_the_card_states_licences_sources_language_and_size(built: ClusteredCorpus):
    metadata, body = split_front_matter((Path(built.source) / "README.md").read_text())
    assert (metadata["license"], metadata["license_name"]) == ("other", "several-licences")
    assert metadata["language"] == ["en"] and metadata["size_categories"] == ["n<1K"]
    for line in (
        "| `cc-by-sa-4.0` | 16 | 33.3% | `s0.org` |",
        "| `mit` | 16 | 33.3% | `s1.org` |",
        "| not stated | 16 | 33.3% | `s2.org` |",
        "| `s0.org` | [`cc-by-sa-4.0`](https://creativecommons.org/licenses/by-sa/4.0/) | 16 |",
        "**Notices.** 16 documents are of documents under `mit`",
        "| made from | rows that a program gave |",
        "| languages | `en` (48) |",
        " kB of rows, ",
        "This dataset passes on whole texts",
        "**16 of 48 documents** (33.3%)",
        "**Share-alike.** 16 documents",
        "**Personal data.**",
        "**Opt-out.**",
        "**Take-down.**",
    ):
        assert line in body, line


def test_a_licence_that_a_person_set_stays_and_ours_is_renewed(built: ClusteredCorpus):
    ours, written = (Path(built.source) / "README.md").read_text(), built.manifest["card"]
    metadata, body = split_front_matter(ours)
    mine = join_front_matter(metadata | {"license": "mit"}, body)
    merged, _ = split_front_matter(merge_cards(ours, mine, written))
    assert merged["license"] == "mit" and "license_name" not in merged
    earlier = {"license": "apache-2.0", "language": ["de"]}
    theirs = join_front_matter({**metadata, "license_name": None, "license_link": None, **earlier}, body)
    merged, _ = split_front_matter(merge_cards(ours, theirs, earlier | {"license_name": None, "license_link": None}))
    assert (merged["license"], merged["license_name"], merged["language"]) == ("other", "several-licences", ["en"])


def test_a_pushed_card_names_its_repository_and_links_to_the_licences(built: ClusteredCorpus):
    card = (Path(built.source) / "README.md").read_text()
    pushed = card_of_repository(card, "me/corpus")
    metadata, body = split_front_matter(pushed)
    assert metadata["license_link"] == "https://huggingface.co/datasets/me/corpus#licences-and-sources"
    assert 'load_dataset("me/corpus"' in body and 'from_hub("me/corpus")' in body and "path/to" not in body
    assert "license_link" not in split_front_matter(card)[0], "the Hub takes an address, or a file named LICENSE"
    one = join_front_matter({**split_front_matter(card)[0], "license": "mit", "license_name": None}, body)
    merged, _ = split_front_matter(merge_cards(one, pushed, built.manifest["card"]))
    assert merged["license"] == "mit" and "license_link" not in merged


def test_counts_stay_bounded_and_nothing_is_lost():
    found = Provenance()
    for start in range(0, 5 * MOST, MOST):
        found.add({"license": f"house {n % 7}", "url": f"https://s{n}.org"} for n in range(start, start + MOST))
    found.add([{"license": "MIT", "source": "large"}] * 50)
    kept = Provenance.of_json([found.to_json(), found.to_json()])
    assert len(found.rows) <= 2 * MOST and found.licences.total() == 5 * MOST + 50
    assert kept.licences == Counter({licence: 2 * count for licence, count in found.licences.items()})
    assert kept.sources("mit") == {"large": 100}
