"""Which documents came to a corpus together: a later revision leaves what is published where it lies.

The documents of a cluster are in random order, so new ones would fall between all others, and every file would be
another. They get files of their own instead, a *generation*, which is merged with the one before when it is no longer
small against it: there are never more generations than doublings of the corpus, and a document is moved about as
often. Readers shuffle the generations of a cluster together (`hash_order.interleaved`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from equal_hf.corpus.indexing.sorted_runs import opened, run_files
from equal_hf.corpus.indexing.workspace import read_record, write_record
from equal_hf.corpus.term_sketch import SAMPLE, SKETCH_VERSION, TermSketch
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import content_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from equal_hf.corpus.indexing.state import IndexState

LEAST_SHARE = 0.5  # of the generation before: from here on a generation is merged with it


@dataclass(frozen=True, slots=True)
class Layout:
    """Where documents lie.

    Args:
        generations (`tuple[np.ndarray, ...]`): Keys of the documents of each generation, ascending, uint64; the oldest
            first. None where the corpus is built once: all documents are of one.
        starts (`tuple[int, ...]`): The first cluster of every data file, by centroid.
        sketch ([`TermSketch`]): Makes the sketches of terms, of all generations alike.
    """

    generations: tuple[np.ndarray, ...]
    starts: tuple[int, ...]
    sketch: TermSketch

    def of(self, keys: np.ndarray) -> np.ndarray:
        """The generation of each document, by its key."""
        found = np.zeros(len(keys), np.int64)
        for number, members in enumerate(self.generations[1:], 1):
            found[_is_member(keys, members)] = number
        return found


def grown(generations: Sequence[np.ndarray], keys: np.ndarray) -> list[np.ndarray]:
    """The generations of a later revision.

    Args:
        generations (`Sequence[np.ndarray]`): Those of the earlier one.
        keys (`np.ndarray` of shape `(n,)`, uint64): Keys of all documents that there are now.

    >>> [len(members) for members in grown([np.arange(100)], np.arange(105))]
    [100, 5]
    >>> [len(members) for members in grown([np.arange(100), np.arange(100, 105)], np.arange(1, 111))]
    [99, 11]
    >>> [len(members) for members in grown([np.arange(100)], np.arange(160))]
    [160]
    """
    keys, left, found = np.sort(keys), [], np.zeros(len(keys), bool)
    for members in generations:
        here = _is_member(keys, members)
        left.append(keys[here])
        found |= here
    left = [members for members in (*left, keys[~found]) if len(members)]
    place = len(left) - 1
    while place > 0:
        if len(left[place]) >= LEAST_SHARE * len(left[place - 1]):
            left[place - 1 : place + 1] = [np.union1d(left[place - 1], left[place])]
            place = len(left)  # what was merged is compared with both neighbours anew
        place -= 1
    return left


def lay_out(
    state: IndexState, runs: Sequence[Path], inputs: str, plan: Callable[[], Sequence[tuple[int, ...]]]
) -> Layout:
    """The layout of a corpus: that of the corpus it follows, with what is new behind it.

    It is written down before anything is written by it, so that a start after a kill goes by the same one.

    Args:
        state ([`IndexState`]): The index.
        runs (`Sequence[Path]`): The sorted runs.
        inputs (`str`): Names what the corpus is made from.
        plan (`Callable`): The clusters of each data file, where all is laid anew.

    Returns:
        [`Layout`]
    """
    if not state.revisable:
        return state.ranks.once(lambda: Layout((), tuple(clusters[0] for clusters in plan()), fit_sketch(runs)))
    folder = state.work.folder / "layout"
    record, sketch = folder / "layout.json", folder / "sketch.safetensors"
    identity = [content_hash(state.centroids.vectors.tobytes(), 64), SKETCH_VERSION, state.config.max_shard_bytes]

    def written() -> dict[str, Any]:
        facts = read_record(record, None)
        if facts is not None and facts["of"] == inputs:
            return facts
        if facts is not None and facts["identity"] != identity:
            facts = None
        earlier = [] if facts is None else _read_keys(folder, facts)
        keys = np.concatenate([np.load(run_files(run)[1], mmap_mode="r")["key"] for run in runs])
        generations = grown(earlier, keys)
        if facts is None or (len(generations) == 1 and len(generations[0]) > len(earlier[0])):
            fit_sketch(runs).save(sketch)
            facts = {"starts": [clusters[0] for clusters in plan()]}
        path = folder / f"{inputs}.npy"
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(generations), allow_pickle=False)
        sizes = [len(members) for members in generations]
        facts = {"of": inputs, "identity": identity, "sizes": sizes, "starts": facts["starts"]}
        facts = write_record(record, {}, [path, sketch], facts)
        for other in folder.glob("*.npy"):
            if other != path:
                other.unlink()
        return facts

    facts = state.ranks.once(written)
    return Layout(tuple(_read_keys(folder, facts)), tuple(facts["starts"]), TermSketch.load(sketch))


def fit_sketch(runs: Sequence[Path]) -> TermSketch:
    """Learn sketches of terms from documents spread evenly over the runs."""
    texts: list[str] = []
    with opened(runs) as readers:
        step = max(1, -(-sum(len(run.order) for run in readers) // SAMPLE))
        offset = 0
        for run in readers:
            for row in range(-offset % step, len(run.order), step):
                texts += run.take(row, row + 1, pa.schema([("text", pa.string())]))["text"].to_pylist()
            offset += len(run.order)
    return TermSketch.fit(texts)


def _read_keys(folder: Path, facts: dict[str, Any]) -> list[np.ndarray]:
    keys = np.load(folder / f"{facts['of']}.npy", mmap_mode="r", allow_pickle=False)
    return np.split(keys, np.cumsum(facts["sizes"])[:-1])


def _is_member(keys: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Which keys are among members, ascending, of which there is one at least."""
    return members[np.minimum(np.searchsorted(members, keys), len(members) - 1)] == keys
