"""`python -m equal_hf.alignment.align_job`: one alignment. Job in and findings out are JSON, a line each."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main() -> None:
    """Align as the job says."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Libraries greet and report on standard output; that is for the findings alone.
    with contextlib.redirect_stdout(sys.stderr):
        import torch

        from equal_hf.alignment.fine_tune import AlignSettings, align
        from equal_hf.alignment.prior_agreement import prior_agreement
        from equal_hf.alignment.sample import load_pairs, load_sample

        def measure(embedder: Any, documents: Sequence[Any], pairs: dict[str, list[str]]) -> dict[str, float | None]:
            found = prior_agreement(embedder, documents, pairs, job["reference"], job["seed"])
            return {"prior_rank_correlation": found}

        torch.set_num_threads(job["threads"])
        names = "seed max_windows holdout epochs learning_rate batch_size mini_batch_size hard_negatives".split()
        facts = align(
            job["embedder"],
            load_sample(Path(job["documents"])),
            load_pairs(Path(job["pairs"])),
            Path(job["out"]),
            settings=AlignSettings(**{name: job[name] for name in names}),
            measure=measure if job["reference"] else None,
        )
    print(json.dumps(facts))


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes when the parent is gone, and end at once."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
