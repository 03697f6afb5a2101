"""Cluster AutoMathText: 1.46 million documents, aligned, embedded and sorted into clusters, pushed to the Hub.

    accelerate launch --config_file accelerate_configs/multi_gpu.yaml recipes/cluster_automathtext.py

reads `cluster_automathtext.yaml` beside it (`--config` names another; any key is also a flag). It is `equal-hf index`
and nothing more, spelled out: stop it at any time and start it again, on as many processes as there are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from equal_hf.cli.index import render
from equal_hf.corpus.indexing.config import parse_index
from equal_hf.corpus.indexing.pipeline import Index
from equal_hf.errors import EqualError
from equal_hf.utils.distributed import Ranks
from equal_hf.utils.printable import escape

CONFIG = Path(__file__).with_name("cluster_automathtext.yaml")


def main(argv: list[str]) -> int:
    """Index the corpus; the exit code."""
    config = str(CONFIG)
    if "--config" in argv[:-1]:
        place = argv.index("--config")
        config, argv = argv[place + 1], argv[:place] + argv[place + 2 :]
    ranks = Ranks()
    try:
        args, output_dir, seed = parse_index(config, argv)
        told = Index(args, output_dir, seed, ranks=ranks).run()
    except EqualError as error:
        print(f"{type(error).__name__}: {escape(str(error))}", file=sys.stderr)
        return 1
    finally:
        ranks.close()
    if ranks.first:
        print("\n".join(render(told)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
