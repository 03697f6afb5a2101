"""Cluster AutoMathText: 1.46 million documents, aligned, embedded and sorted into clusters, pushed to the Hub.

    accelerate launch --config_file accelerate_configs/multi_gpu.yaml recipes/cluster_automathtext.py

reads `cluster_automathtext.yaml` beside it (`--config` names another; any key is also a flag). It is `equal-hf align`
and then `equal-hf index`, spelled out; `--align False` leaves the first out. Stop it at any time and start it again,
on as many processes as there are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from equal_hf.cli import align, index
from equal_hf.cli.index_arguments import parse_index
from equal_hf.errors import EqualError
from equal_hf.utils.distributed import Ranks
from equal_hf.utils.logging import set_up_terminal
from equal_hf.utils.printable import escape

CONFIG = Path(__file__).with_name("cluster_automathtext.yaml")


def main(argv: list[str]) -> int:
    """Align the embedder and index the corpus; the exit code."""
    config = str(CONFIG)
    if "--config" in argv[:-1]:
        position = argv.index("--config")
        config, argv = argv[position + 1], argv[:position] + argv[position + 2 :]
    ranks = Ranks()
    set_up_terminal(is_main_process=ranks.first)
    lines: list[str] = []
    try:
        settings, output_dir, seed = parse_index(config, argv)
        if settings.align is not False:
            lines += align.render(align.align(settings, output_dir, seed, ranks=ranks))
        lines += index.render(index.index(settings, output_dir, seed, ranks=ranks))
    except EqualError as error:
        print(f"{type(error).__name__}: {escape(str(error))}", file=sys.stderr)
        return 1
    finally:
        ranks.close()
    if ranks.first:
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
