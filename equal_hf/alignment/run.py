"""`equal-hf align`: a sample's pairs are extracted, the embedder is aligned with them, and kept where that helped.

The trainer runs in a process of its own, outside the ranks' group: `python -m equal_hf.alignment.run`, which reads its
job from standard input and writes what it measured to standard output, a line of JSON each.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.alignment.config import AlignConfig, SampleConfig
from equal_hf.alignment.sample import draw_sample, extract_sample, load_pairs, load_sample, save_pairs, save_sample
from equal_hf.corpus.indexing.aligned import EMBEDDER_FOLDER, RECORD_FILE, alignment_source, model_content
from equal_hf.corpus.indexing.document_source import files_source
from equal_hf.corpus.indexing.pipeline import open_state, run_stages
from equal_hf.corpus.indexing.read import read
from equal_hf.errors import ConfigError, CorpusError
from equal_hf.utils.distributed import Ranks
from equal_hf.utils.hashing import fingerprint

if TYPE_CHECKING:
    from equal_hf.corpus.config import CorpusConfig
    from equal_hf.corpus.indexing.state import IndexState
    from equal_hf.extraction.protocol import Extractor

STAGES = ("read", "sample", "extract", "align")
# What tells a process that it is one of several: the trainer must not take itself for one of the ranks.
_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")


@dataclass(frozen=True, slots=True)
class PairSource:
    """Where the sample's pairs come from.

    Args:
        make_extractor (`Callable`): Makes the extractor; called only where there is something to extract.
        reference (`Callable`): Rendered items of the target task, `None` without one.
        settings (`Mapping[str, Any]`): What the pairs depend on besides the documents; JSON-able.
    """

    make_extractor: Callable[[], Extractor]
    reference: Callable[[], list[str] | None]
    settings: Mapping[str, Any]


def run_align(
    corpus: CorpusConfig,
    sample: SampleConfig,
    align: AlignConfig,
    output_dir: str | Path,
    seed: int,
    pairs: PairSource,
    *,
    stage: str | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Align the embedder of a corpus, and leave it in `<output_dir>/embedder` where that helped.

    Args:
        corpus ([`CorpusConfig`]): The corpus, and the embedder.
        sample ([`SampleConfig`]): The sample and its budget.
        align ([`AlignConfig`]): How to align.
        output_dir (`str` or `Path`): Run folder.
        seed (`int`): Seeds every choice.
        pairs ([`PairSource`]): Gives the sample's pairs.
        stage (`str`, *optional*): The only stage to do.
        ranks ([`Ranks`], *optional*): The processes, which share out the reading; found out where left out.

    Returns:
        `dict[str, Any]`: Seconds, and pieces found complete and made, by stage; what was extracted and measured.

    Raises:
        ConfigError: `<output_dir>/embedder` holds something else, or a setting is out of its range.
        CorpusError: The corpus cannot be read, or the trainer failed.
        ResumeError: The folder holds an index of something else.
    """
    ranks = ranks or Ranks()
    folder = Path(output_dir)
    state = open_state(corpus, folder, seed, STAGES, stage=stage, ranks=ranks)
    ranks.once(lambda: _check_folder(state, folder))
    source = files_source(corpus)
    return run_stages(
        state,
        {
            "read": lambda: read(state, source),
            "sample": lambda: {"sampled": ranks.once(lambda: _sample(state, sample))},
            "extract": lambda: {"extraction": ranks.once(lambda: _extract(state, sample, pairs))},
            "align": lambda: {"alignment": ranks.once(lambda: _align(state, align, pairs, folder))},
        },
    )


def _check_folder(state: IndexState, folder: Path) -> None:
    """Refuse to replace a folder that no alignment made."""
    tuned = folder / EMBEDDER_FOLDER
    if Path(state.config.embedder).absolute() == tuned.absolute():
        raise ConfigError(f"`embedder` is {tuned}, where the aligned one goes: name the original model")
    if tuned.exists() and not (folder / RECORD_FILE).exists() and not _started(state).exists():
        raise ConfigError(
            f"{tuned} is there already, and no `equal-hf align` made it: move it away, or set `output_dir` to another "
            "folder"
        )


def _started(state: IndexState) -> Path:
    return state.work.folder / "align.started"


def _sample(state: IndexState, config: SampleConfig) -> int:
    """Draw the documents to align with. A later revision keeps the first one's, so the embedder stays the same."""
    path = state.work.folder / "sample.parquet"
    count = max(1, round(config.sample_share * state.unique_documents()))
    inputs = {"seed": state.seed, "share": config.sample_share}

    def make() -> tuple[list[Path], dict[str, Any]]:
        documents = draw_sample(state.shards, state.documents, state.unique, count, state.seed)
        save_sample(documents, path)
        return [path], {"documents": len(documents), "id": fingerprint([document.id for document in documents])}

    facts = state.work.piece("sample", state.work.folder / "sample.json", inputs, make)
    return int(facts["documents"])


def _extract(state: IndexState, config: SampleConfig, pairs: PairSource) -> dict[str, Any]:
    """Extract the sample's pairs."""
    folder = state.work.folder
    sample = json.loads((folder / "sample.json").read_text(encoding="utf-8"))["facts"]["id"]
    limits = {name: value for name, value in asdict(config).items() if name != "sample_share"}
    inputs = {"sample": sample, "settings": fingerprint({**pairs.settings, **limits})}

    def make() -> tuple[list[Path], dict[str, Any]]:
        run = f"index-{fingerprint(str(folder.absolute()))[:12]}"
        documents = load_sample(folder / "sample.parquet")
        extracted, facts = extract_sample(pairs.make_extractor(), documents, config, run, state.show_progress)
        save_pairs(extracted, folder / "pairs.parquet")
        return [folder / "pairs.parquet"], facts

    return state.work.piece("extract", folder / "pairs.json", inputs, make)


def _align(state: IndexState, config: AlignConfig, pairs: PairSource, folder: Path) -> dict[str, Any]:
    """Align the embedder with the sample's pairs; what was measured, and whether the result is kept."""
    work, corpus = state.work.folder, state.config
    inputs = {
        **asdict(config),
        "embedder": corpus.embedder,
        "max_windows": corpus.embedder_max_windows,
        "pairs": fingerprint(json.loads((work / "pairs.json").read_text(encoding="utf-8"))["files"]),
        "model": model_content(corpus.embedder),
        "target": pairs.settings.get("target"),
        "seed": state.seed,
        "threads": state.threads,
    }

    def make() -> tuple[list[Path], dict[str, Any]]:
        _started(state).touch()
        # Somewhere else first: what a killed attempt still writes must not land in the model of a later one.
        tuned, out = folder / EMBEDDER_FOLDER, work / f"aligned.{os.getpid()}"
        for left in (tuned, *work.glob("aligned.*[0-9]")):
            shutil.rmtree(left, ignore_errors=True)
        job = {
            "embedder": corpus.embedder,
            "documents": str(work / "sample.parquet"),
            "pairs": str(work / "pairs.parquet"),
            "reference": pairs.reference(),
            "out": str(out),
            "seed": state.seed,
            "max_windows": corpus.embedder_max_windows,
            "threads": state.threads,
            "config": asdict(config),
        }
        facts = {**_train_apart(job), **alignment_source(corpus)}
        if facts["kept"]:
            shutil.move(out, tuned)  # `index_dir` may be on another disk
        return [path for path in sorted(tuned.rglob("*")) if path.is_file()], facts

    return state.work.piece("align", folder / RECORD_FILE, inputs, make)


def _train_apart(job: dict[str, Any]) -> dict[str, Any]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHER and not name.startswith(("TORCHELASTIC_", "ACCELERATE_", "GROUP_", "ROLE_"))
    }
    if not sys.stderr.isatty():
        environment["TQDM_DISABLE"] = "1"  # one bar after another, each of a second
    environment["OMP_NUM_THREADS"] = str(job["threads"])
    environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    with subprocess.Popen(
        [sys.executable, "-m", "equal_hf.alignment.run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        # Standard input stays open: by its end the child knows that this process is gone, however that came.
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(job) + "\n")
            child.stdin.flush()
        output = child.stdout.read()
    if child.returncode:
        raise CorpusError(
            f"The alignment failed with exit code {child.returncode}; its output is above. Lower `align_batch_size` "
            "or set `align_mini_batch_size` where memory ran out, or index without `equal-hf align` to embed with the "
            "model as it is."
        )
    return dict(json.loads(output.splitlines()[-1]))


def _main() -> None:
    """Align as the job says: the child process."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Libraries greet and report on standard output; that is for the result alone.
    with contextlib.redirect_stdout(sys.stderr):
        import torch

        from equal_hf.alignment.fine_tune import align
        from equal_hf.alignment.prior_agreement import prior_agreement

        def measure(embedder: Any, documents: Sequence[Any], pairs: dict[str, list[str]]) -> dict[str, float | None]:
            agreement = prior_agreement(embedder, documents, pairs, job["reference"], job["seed"])
            return {"prior_rank_correlation": agreement}

        torch.set_num_threads(job["threads"])
        facts = align(
            job["embedder"],
            load_sample(Path(job["documents"])),
            load_pairs(Path(job["pairs"])),
            Path(job["out"]),
            config=AlignConfig(**job["config"]),
            seed=job["seed"],
            max_windows=job["max_windows"],
            measure=measure if job["reference"] else None,
        )
    print(json.dumps(facts))


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes when the parent is gone, and end at once."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _main()
