"""The dataset card: what was selected, cost and yield, comparison with the control, and how to reproduce it.

Every string that came from a document, a reply or a corpus column goes through `code` or `json_block`, so that it
shows as it is and changes nothing around it. The generated part stands between two comments; what a person writes
outside them, and the metadata a person sets or changes, stay when the card is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from equal_hf.corpus.licence_text import licence_section
from equal_hf.publishing.citation import PAPER_BIBTEX
from equal_hf.publishing.dataset_metadata import Published, dataset_metadata, merge_metadata
from equal_hf.publishing.explanations import UNSHOWN, columns_section, measure_rows, reason_text
from equal_hf.publishing.reproduce import reproduce_section, short_path
from equal_hf.records.statistics import RoundStatistics, RunStatistics
from equal_hf.utils.hub_repository import hub_id
from equal_hf.utils.markdown import (
    code,
    join_front_matter,
    json_block,
    number,
    replace_generated,
    split_front_matter,
    table,
)

SHOWN_ROUNDS, SHOWN_ARMS = 40, 15
PICTURE_TEXTS = {
    "progress.png": "Mean reward and evaluation loss by documents and by tokens spent",
    "pulls.png": "Documents drawn from each cluster, by round",
    "clusters.png": "Clusters by mean mixed reward",
    "drops.png": "Rejected and skipped, by reason",
}

CITATION = f"""\
```bibtex
{PAPER_BIBTEX}

@software{{equal_hf,
  title  = {{EQUAL-HF: instruction-tuning data from the documents worth an LLM call}},
  note   = {{Python package equal-hf}},
  license = {{Apache-2.0}}
}}
```"""


def dataset_card(
    stats: RunStatistics,
    *,
    name: str,
    summary: Mapping[str, Any] | None = None,
    published: Published | None = None,
    previous: str = "",
    written: Mapping[str, Any] | None = None,
    pictures: Sequence[str] = (),
) -> str:
    """The whole `README.md`.

    Args:
        stats ([`RunStatistics`]): The run.
        name (`str`): What to pass to `load_dataset`: a repository's id or a folder.
        summary (`Mapping[str, Any]`, *optional*): `summary.json`: EQUAL beside the uniform control.
        published ([`Published`], *optional*): What is known of the data.
        previous (`str`, *optional*): The card as it stands, a person's additions included.
        written (`Mapping[str, Any]`, *optional*): The metadata we wrote into it last time.
        pictures (`Sequence[str]`, *optional*): Paths of pictures beside the card, of those in `PICTURE_TEXTS`.
    """
    old, body = split_front_matter(previous)
    published = published or Published()
    metadata = merge_metadata(dataset_metadata(stats, published), old, written or {})
    sections = [
        _introduction(stats, name),
        columns_section({config: facts.schema.names for config, facts in published.files.items()}),
        _cost(stats),
        _comparison(summary),
        _pictures(pictures),
        _rounds(stats),
        _arms(stats),
        _samples(stats),
        _provenance(stats),
        licence_section(published.provenance, "pairs", whole_texts=False, models=bool(stats.models)),
        reproduce_section(stats.run, settings=published.settings, prompt=published.prompt),
        f"## Citation\n\n{CITATION}",
    ]
    return join_front_matter(metadata, replace_generated(body, "\n\n".join(part for part in sections if part)))


def _introduction(stats: RunStatistics, name: str) -> str:
    corpus, target = stats.config.get("corpus"), stats.config.get("target")
    source = f" of {code(short_path(corpus))}" if isinstance(corpus, str) else ""
    targets = [code(short_path(str(one))) for one in ([target] if isinstance(target, str) else target or [])]
    tasks = "the task" if len(targets) == 1 else "the tasks"
    aim = f", for {tasks} {' and '.join(targets)}" if targets else ""
    shown = json.dumps(name, ensure_ascii=False)
    pairs, documents, rounds, arms = map(number, (stats.pairs, stats.documents, len(stats.rounds), len(stats.arms)))
    writer = (
        "" if stats.models or not stats.pairs else "\nThe documents state the pairs themselves; no model wrote any."
    )
    rejected = f'rejected = load_dataset({shown}, "rejected", split="train")  # rejected pairs, skipped documents\n'
    rejected = rejected if stats.rejected else ""
    paper = "[arXiv:2505.12250](https://arxiv.org/abs/2505.12250)"
    title = "Question-answer pairs selected by EQUAL"
    fingerprint = stats.run.get("fingerprint", {})
    chose = "a value model and a bandit" if fingerprint.get("draw_by") == "document" else "a bandit"
    method = (
        f"In {rounds} rounds {chose} chose which documents were worth extracting, from {arms} clusters: after the "
        f"method of\n{paper}."
    )
    if fingerprint.get("bandit", {}).get("policy") == "uniform":
        title = "Question-answer pairs from documents drawn uniformly"
        method = (
            f"In {rounds} rounds documents were drawn uniformly at random, from {arms} clusters: the control that "
            f"EQUAL is compared with\n({paper})."
        )
    return f"""\
# {title}

{pairs} question-answer pairs for instruction tuning, extracted from {documents} documents{source}{aim}.
{method}{writer}

```python
from datasets import load_dataset

pairs = load_dataset({shown}, split="train")
decisions = load_dataset({shown}, "decisions", split="train")  # every pull of a cluster
{rejected}```

`prompt` and `completion` are in TRL's conversational form: `SFTTrainer` takes the dataset as it is. There is one file
a round, which stays as it is, but for `value_influence`, which training adds where it is asked for; rewards that came
later are in `decisions`."""


def _cost(stats: RunStatistics) -> str:
    usage, estimated = stats.usage, stats.run.get("fingerprint", {}).get("extractor", {}).get("kind") == "explicit"
    of = " (estimated)" if estimated else ""
    rows: list[list[Any]] = [
        ["rounds", len(stats.rounds)],
        ["documents extracted", stats.documents],
        ["pairs kept", stats.pairs],
        ["pairs a document", stats.pairs / stats.documents if stats.documents else None],
        [f"prompt tokens{of}", usage.prompt_tokens],
        [f"completion tokens{of}", usage.completion_tokens],
        *([] if estimated else [["requests", usage.requests]]),
    ]
    if usage.cached_tokens:
        rows.append(["prompt tokens that were cached", usage.cached_tokens])
    if usage.reasoning_tokens:
        rows.append(["completion tokens that were thoughts", usage.reasoning_tokens])
    rows += [[name, f"{share:.1%}"] for name, share in stats.kept_shares]
    for position, (name, paid) in enumerate(stats.money):
        rows.append([f"{name}, in the currency of the prices" if not position else code(name), paid])
    if size := stats.corpus.get("documents"):
        rows.append(
            [
                "share of the corpus that was not extracted",
                f"{1 - stats.documents / size:.1%} of {number(size)} documents",
            ]
        )
    drops = [
        [code(reason), count, reason_text(reason)]
        for reason, count in sorted(stats.rejected.items(), key=lambda item: (-item[1], item[0]))
    ]
    dropped = (
        "\n\nRejected or skipped, by reason:\n\n" + table(["reason", "count", "what it means"], drops) if drops else ""
    )
    note = "\n\nNo model was asked: the tokens are those that one would have read and written." if estimated else ""
    return f"## Cost and yield\n\n{table(['', 'total'], rows)}{note}{dropped}"


def _comparison(summary: Mapping[str, Any] | None) -> str:
    summary = summary or {}
    runs = {
        name: summary[name] for name in ("untouched", "equal", "uniform") if isinstance(summary.get(name), Mapping)
    }
    if not runs:
        return ""
    named = dict.fromkeys(key for run in runs.values() for key in run if not UNSHOWN.fullmatch(key))
    measures = [name for name in named if any(run.get(name) for run in runs.values())]
    rows = [[code(measure), *(_cell(run.get(measure)) for run in runs.values())] for measure in measures]
    heads = {"untouched": "before training", "equal": "EQUAL", "uniform": "uniform control"}
    text = table(["", *(heads[name] for name in runs)], rows)
    text += "\n\n" + "\n".join(f"- {line}" for line in measure_rows(measures))
    if "uniform" not in runs:
        return "## Results\n\nNo control with uniform selection was run.\n\n" + text
    steps = " and the same number of training steps" if "steps" in measures else ""
    note = f"The control drew documents uniformly, at the same budget{steps}.\n\n"
    return f"## Comparison with uniform sampling\n\n{note}{text}"


def _pictures(pictures: Sequence[str]) -> str:
    shown = [
        f"![{text}]({path})" for path in pictures if (text := PICTURE_TEXTS.get(PurePosixPath(path).name)) is not None
    ]
    return "## Pictures\n\n" + "\n\n".join(shown) if shown else ""


def _rounds(stats: RunStatistics) -> str:
    shown = _spread(stats.rounds)
    names = list(dict.fromkeys(name for round in stats.rounds for name in round.rewards))
    losses = any(round.eval_loss is not None for round in stats.rounds)
    targets = list(dict.fromkeys(name for round in stats.rounds for name in round.target_losses))
    header = ["round", "documents", "pairs", "prompt tokens", *(f"{code(name)} reward" for name in names)]
    rows = [
        [round.index, round.documents, round.pairs, round.usage.prompt_tokens, *map(round.rewards.get, names)]
        + ([round.eval_loss] if losses else [])
        + list(map(round.target_losses.get, targets))
        for round in shown
    ]
    note = "" if len(shown) == len(stats.rounds) else f" {len(shown)} of {len(stats.rounds)} are shown."
    header += ["evaluation loss"] if losses else []
    text = table([*header, *(f"of {code(name)}" for name in targets)], rows)
    told = "Rewards are means over the round's arms, each in its own unit; the bandit gets their mixture on one scale."
    return f"## Rounds\n\n{told}{note}\n\n{text}"


def _arms(stats: RunStatistics) -> str:
    ranked = sorted(stats.arms.values(), key=lambda arm: (-arm.pulls, -arm.documents, arm.arm))[:SHOWN_ARMS]
    rows = [[arm.arm, arm.pulls, arm.documents, arm.pairs, arm.reward] for arm in ranked]
    head = "## Arms" if len(ranked) == len(stats.arms) else f"## The {len(ranked)} arms pulled most"
    return f"{head}\n\n{table(['arm (cluster)', 'pulls', 'documents', 'pairs', 'mean mixed reward'], rows)}"


def _samples(stats: RunStatistics) -> str:
    if not stats.samples:
        return "## Samples\n\nNo pair was kept yet."
    last = len(stats.samples) - 1
    chosen = [stats.samples[index] for index in sorted({0, last // 2, last})]
    return "## Samples\n\nText from the corpus or a model, shown as JSON and cut short.\n\n" + json_block(chosen)


def _provenance(stats: RunStatistics) -> str:
    def counted(counter: Mapping[Any, int]) -> str:
        ranked = sorted(counter.items(), key=lambda item: (-item[1], str(item[0])))
        shown = ", ".join(f"{code(name) if name else 'not stated'} ({number(count)})" for name, count in ranked[:10])
        return shown + (f" and {len(ranked) - 10} more" if len(ranked) > 10 else "")

    lines = [f"- Corpus: {_linked(hub)}." if (hub := stats.corpus.get("hub_id")) else ""]
    if isinstance(embedder := stats.config.get("embedder"), str):
        lines.append(f"- Embedder, by which documents were clustered and pairs compared: {_linked(embedder, '')}.")
    lines.append(f"- Extraction methods: {counted(stats.methods)}." if stats.methods else "")
    if stats.models:
        lines.append(f"- Models that wrote pairs: {counted(stats.models)}. No person checked what they wrote.")
    if isinstance(url := stats.run.get("tracked_at"), str):
        online = url.startswith(("http://", "https://"))
        address = f"at <{quote(url, safe=':/?=&%#-._~')}>" if online else f"as {code(url)}"
        lines.append(f"- The run was tracked {address}.")
    listed = "\n".join(line for line in lines if line)
    return f"## Provenance\n\n{listed}" if listed else ""


def _linked(name: str, kind: str = "datasets/") -> str:
    """A repository of the Hub as a link; a folder of the machine by its name."""
    if not hub_id(name) or Path(name).exists():
        return code(short_path(name))
    return f"[{name}](https://huggingface.co/{kind}{name})"


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else code(value)


def _spread(rounds: list[RoundStatistics]) -> list[RoundStatistics]:
    """At most `SHOWN_ROUNDS` of them, evenly spaced, the first and the last among them."""
    if len(rounds) <= SHOWN_ROUNDS:
        return rounds
    return [rounds[index * (len(rounds) - 1) // (SHOWN_ROUNDS - 1)] for index in range(SHOWN_ROUNDS)]
