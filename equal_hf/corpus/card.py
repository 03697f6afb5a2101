"""The dataset card of a clustered corpus: it makes the folder an ordinary dataset of its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from equal_hf.corpus.keywords import ClusterWords
from equal_hf.corpus.licence_text import ANCHOR, licence_link, licence_metadata, licence_section
from equal_hf.corpus.made_from import corpus_name
from equal_hf.corpus.provenance import Provenance
from equal_hf.utils.dataset_info import DataFacts, dataset_info, size_category
from equal_hf.utils.markdown import END, START, code, join_front_matter, replace_generated, split_front_matter, table

CLUSTERS_SHOWN, LANGUAGES_SHOWN = 50, 20
HERE = "path/to/this/folder"  # in examples, until the card is pushed
STATED = ("language", "license", "license_name", "license_link")  # metadata that a person may have set otherwise

_CARD = """\
{start}
# Clustered corpus

{documents:,} documents in {n_clusters:,} clusters, sorted by cluster, for selecting documents with
[EQUAL](https://arxiv.org/abs/2505.12250).

```python
from datasets import load_dataset
documents = load_dataset("{here}", split="train")  # id, text, cluster, metadata

from equal_hf import ClusteredCorpus
corpus = ClusteredCorpus.load("{here}")
corpus.draw(cluster=0, n=10)  # reads the row groups of cluster 0 only
```

As `corpus` of a run's YAML, it is selected from as it is.

| what | value |
|---|---|
| made from | {origin} |
| languages | {languages} |
| size | {size} |
| documents read / kept | {rows:,} / {documents:,} |
| dropped | {dropped} |
| embedder | {embedder} |
| clustering | spherical k-means, {requested:,} clusters asked for, seed {seed}, {threads} threads, {device} |
| fingerprint | `{fingerprint}` |
{more}
{picture}## Largest clusters

{clusters}

## Files

- `data/*.parquet`: the documents; a row group holds documents of one cluster, in seeded-hash order. Documents that
  came later have files of their own (`-added-…`), so that what is published stays as it is.
- `index.parquet`: where each cluster's row groups lie.
- `profiles.safetensors`: of each cluster the size, the mean embedding, the covariance and sample embeddings.
- `centroids.safetensors`: all centroids, and which of them each cluster is of.
- `clusters.parquet`: of each cluster the size, the terms that set it apart, some titles, and `centroid`: the number
  that it keeps in later revisions, for as long as the clusters are not trained anew. `cluster` counts those that hold
  documents, so it may shift.
- `embeddings/*.safetensors`: document embeddings, float16, a file a data file, in the order of its rows.
- `terms/*.safetensors`: of each document a sketch of its words and its length (latent semantic analysis), in the same
  order.
- `corpus.json`: how the corpus was made, and the hash of every file.

{licences}
{end}
"""


def corpus_card(
    manifest: dict[str, Any],
    words: Sequence[ClusterWords] = (),
    terms: Sequence[Sequence[str]] = (),
    pictures: Sequence[str] = (),
    *,
    data: DataFacts,
    provenance: Provenance,
) -> str:
    """The text of `README.md`.

    Args:
        manifest (`dict[str, Any]`): The corpus manifest.
        words (`Sequence[ClusterWords]`, *optional*): What the clusters hold.
        terms (`Sequence[Sequence[str]]`, *optional*): Terms that set each of them apart.
        pictures (`Sequence[str]`, *optional*): Files of the corpus map.
        data ([`DataFacts`]): Columns, rows and sizes of the documents' files.
        provenance ([`Provenance`]): Licences, sources and languages of the documents.
    """
    read, clustering = manifest["read"], manifest["clustering"]
    body = _CARD.format(
        here=HERE,
        origin=_origin(manifest.get("made_from", {})),
        languages=_languages(provenance),
        size=f"{_bytes(data.arrow_bytes)} of rows, {_bytes(data.file_bytes)} as Parquet",
        start=START,
        end=END,
        documents=manifest["documents"],
        n_clusters=manifest["n_clusters"],
        rows=read["rows"],
        dropped=", ".join(f"{count:,} {reason}" for reason, count in read["dropped"].items()) or "none",
        embedder=code(corpus_name(manifest["embedder"]["name"])) or "not named",
        requested=clustering["n_clusters_requested"],
        seed=clustering["seed"],
        threads=clustering["threads"],
        device=clustering["device"].upper(),
        fingerprint=manifest["fingerprint"],
        more="".join(f"| {name} | {value} |\n" for name, value in _more(manifest)),
        picture=_picture(pictures),
        clusters=_clusters(words, terms),
        licences=licence_section(provenance, "documents", whole_texts=True),
    )
    return join_front_matter(_metadata(manifest, data, provenance), f"\n{body}")


def _metadata(manifest: dict[str, Any], data: DataFacts, provenance: Provenance) -> dict[str, Any]:
    made_from = manifest.get("made_from", {})
    return {
        **stated_metadata(provenance),
        "size_categories": [size_category(data.rows)],
        "task_categories": ["text-generation"],
        "tags": ["equal-hf", "clustered-corpus"],
        **({"source_datasets": [made_from["corpus"]]} if made_from.get("revision") else {}),
        "dataset_info": dataset_info({"default": data}),
        "configs": [
            {
                "config_name": "default",
                # `datasets` caches a local folder under its configurations alone: without this, a rebuilt one would
                # open as it was.
                "description": f"content {manifest['fingerprint']}",
                "data_files": [{"split": "train", "path": "data/*.parquet"}],
            }
        ],
    }


def stated_metadata(provenance: Provenance) -> dict[str, Any]:
    """Licence and languages by the documents: what a person may know better."""
    languages = sorted(provenance.languages)
    return {**({"language": languages} if languages else {}), **licence_metadata(provenance)}


def card_of_repository(card: str, repo_id: str) -> str:
    """The card of a corpus folder as it stands in a repository: with its name in the examples, and a link to the
    licences."""
    metadata, body = split_front_matter(card)
    if metadata.get("license") == "other":
        metadata["license_link"] = licence_link(repo_id)
    body = body.replace(f'ClusteredCorpus.load("{HERE}")', f'ClusteredCorpus.from_hub("{repo_id}")')
    return join_front_matter(metadata, body.replace(f'"{HERE}"', f'"{repo_id}"'))


def merge_cards(ours: str, theirs: str, written: Mapping[str, Any] | None = None) -> str:
    """Our card in the place of the one that a repository has: what a person wrote into that stays.

    Args:
        ours (`str`): The card to publish.
        theirs (`str`): The card that is there; empty where there is none.
        written (`Mapping[str, Any]`, *optional*): Licence and languages that we wrote into it; others are a person's,
            but for the link that [`card_of_repository`] adds.

    >>> merged = merge_cards("---\\ntags: [ours]\\n---\\nNew.", "---\\nlicense: mit\\n---\\nMine.")
    >>> "license: mit" in merged, "Mine." in merged, "New." in merged
    (True, True, True)
    """
    metadata, body = split_front_matter(ours)
    old, old_body = split_front_matter(theirs)
    tags = list(dict.fromkeys([*_listed(metadata.get("tags")), *_listed(old.get("tags"))]))
    theirs_now = {key: old[key] for key in STATED if key in old and old[key] != (written or {}).get(key)}
    if str(theirs_now.get("license_link", "")).endswith(f"#{ANCHOR}"):
        del theirs_now["license_link"]
    if "license" in theirs_now:  # name and link belong to ours
        metadata = {key: value for key, value in metadata.items() if not key.startswith("license")}
    old = {key: value for key, value in old.items() if key not in STATED or key in theirs_now}
    merged = {**old, **metadata, **theirs_now, "tags": tags}
    if "clustered-corpus" in _listed(old.get("tags")) and START not in old_body:
        old_body = ""  # a card of an earlier version, which did not mark what it wrote
    if not old_body.strip() and START in body:
        return join_front_matter(merged, body) if old else ours
    generated = body.split(START, 1)[-1].split(END, 1)[0]
    return join_front_matter(merged, replace_generated(old_body, generated))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _origin(made_from: Mapping[str, Any]) -> str:
    name, revision = made_from.get("corpus"), made_from.get("revision")
    if not name:
        return "rows that a program gave"
    if not revision:
        return code(name)
    return f"[{code(name)}](https://huggingface.co/datasets/{quote(name)}) at commit {code(revision)}"


def _languages(provenance: Provenance) -> str:
    counts = sorted(provenance.languages.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{code(language)} ({count:,})" for language, count in counts[:LANGUAGES_SHOWN])
    more = f" and {len(counts) - LANGUAGES_SHOWN} more" if len(counts) > LANGUAGES_SHOWN else ""
    return f"{shown}{more}" or "not stated: the documents have no column `language` or `lang`"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def _more(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    sizes, clustering = manifest["sizes"], manifest["clustering"]
    yield "cluster sizes", f"{sizes['smallest']:,} to {sizes['largest']:,}, median {sizes['median']:,}"
    yield (
        "empty clusters left out / giant ones split",
        f"{sizes['empty_clusters_left_out']} / {clustering['giant_clusters_split']}",
    )
    if beyond := manifest["embedder"]["documents_beyond_max_windows"]:
        windows = manifest["embedder"]["max_windows"]
        yield f"documents longer than {windows} windows", f"{beyond:,}, embedded by {windows} windows spread over them"
    for shard in manifest["read"].get("skipped", []):
        yield "**left out**, unreadable", f"{code(shard['file'])}: {code(shard['problem'], 300)}"
    if not_read := manifest["read"].get("not_read"):
        yield "files of other kinds", code(not_read, 500)
    for kind, columns in manifest["read"].get("changed_columns", {}).items():
        yield f"columns {kind}", ", ".join(map(code, columns))
    if drift := manifest.get("drift"):
        yield (
            "drift since the clusters were trained",
            f"{drift['new_documents']:,} documents are new; their mean cosine to the centroid is "
            f"{drift['similarity']:.4f}, that of the documents it was trained on {drift['training_similarity']:.4f}",
        )
    if alignment := manifest.get("alignment"):
        yield "alignment of the embedder", code(alignment["verdict"], 300)
        before, after = alignment["before"], alignment["after"]
        for name in before:
            show = [("not measured" if v is None else f"{v:.4f}") for v in (before[name], after.get(name))]
            yield f"alignment: {name.replace('_', ' ')}, before / after", " / ".join(show)


def _picture(pictures: Sequence[str]) -> str:
    shown = next((name for name in pictures if name.endswith(".png")), None)
    page = next((name for name in pictures if name.endswith(".html")), None)
    if shown is None:
        return ""
    text = f"## Map\n\n![Clusters by the direction of their mean embedding; area by size]({shown})\n\n"
    return text + (f"The same to look around in: `{page}`.\n\n" if page else "")


def _clusters(words: Sequence[ClusterWords], terms: Sequence[Sequence[str]]) -> str:
    largest = sorted(zip(words, terms, strict=True), key=lambda pair: (-pair[0].documents, pair[0].cluster))
    rows = [
        [cluster.cluster, cluster.documents, code(", ".join(shown)), " ".join(code(t, 60) for t in cluster.titles[:3])]
        for cluster, shown in largest[:CLUSTERS_SHOWN]
    ]
    return table(["cluster", "documents", "terms that set it apart", "titles of some documents"], rows)
