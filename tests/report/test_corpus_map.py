"""Where clusters lie on a plane."""

from __future__ import annotations

import numpy as np
import pytest

from equal_hf.corpus import ClusterProfiles
from equal_hf.corpus.keywords import ClusterWords, cluster_words
from equal_hf.report.corpus_map import draw_map, project


@pytest.mark.parametrize("count", [1, 2, 9, 13, 40])
def test_any_number_of_clusters_has_places(count: int):
    places = project(np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32))
    assert places.shape == (count, 2) and (places >= 0).all() and (places <= 1).all()


@pytest.mark.parametrize("count", [1, 9, 40])
def test_clusters_that_are_all_alike_have_places(count: int):
    assert np.isfinite(project(np.ones((count, 5), dtype=np.float32))).all()


def test_titles_and_terms_of_documents_are_text_in_the_page(tmp_path):
    """They end no script, open no tag and are cut to what a hover box holds."""
    bad = "</script><img src=x onerror=alert(1)>"
    means = np.eye(2, dtype=np.float32)
    profiles = ClusterProfiles.compute([means[:1], means[1:]], np.eye(2))
    words = [ClusterWords(number, 1, {}, 0, [bad, "x" * 10_000]) for number in range(2)]
    picture, page = draw_map(tmp_path, profiles, words, [[bad], [bad]])
    text = page.read_text(encoding="utf-8")
    assert "onerror" in text and "<img" not in text.split('id="figures"')[1].split("</script>")[0]
    assert text.lower().count("</script") == 3  # figures, plotly, the page's own
    assert "x" * 300 not in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_words_of_any_script_are_whole():
    import pyarrow as pa

    table = pa.table({"text": ["किताबें और किताबें", "ספרים שָׁלוֹם"]})
    assert cluster_words(0, 2, table).counts == {"किताबें": 2, "ספרים": 1, "שָׁלוֹם": 1}
