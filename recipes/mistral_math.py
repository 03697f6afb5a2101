# /// script
# requires-python = ">=3.11"
# dependencies = ["equal-hf[gpu,report]>=0.2"]
#
# [tool.hf-jobs]
# flavor = "a10g-large"
# timeout = "6h"
# secrets = ["HF_TOKEN"]
# ///
"""Mistral-7B on mathematics: select, extract, train, publish, and compare with uniform selection.

    accelerate launch recipes/mistral_math.py                                     # reads recipes/mistral_math.yaml
    accelerate launch recipes/mistral_math.py --config mine.yaml --max_documents 5000

Nothing in here is about Mistral or mathematics: corpus, target, model and endpoint come from the YAML, and any key of
it is a flag too. Run it again after a stop and it goes on where it was; a folder with a finished run just reports it.

What happens, in this order ([`equal_hf.cli.drive.drive`]; `equal-hf train CONFIG` is the same):

1. Everything the run needs is checked: model, corpus, target, endpoint, rights on the Hub. What is missing is listed.
2. The corpus is embedded and clustered, once, into `output_dir/corpus`.
3. Round by round, documents are selected, the extractor turns them into pairs, and what these are worth pays their
   clusters. What `equal-hf collect` has collected in `output_dir` already is taken up.
4. The model is trained on all pairs. (With `closed_loop: true` it is trained for one epoch after every round, whose
   evaluation can pay clusters too.)
5. Test loss is measured, the model exported to `output_dir/hub/model`.
6. `control: uniform` does 3 to 5 again with documents drawn uniformly, at the same budget and as many steps.
7. Both runs stand side by side in `output_dir/summary.json` and in the dataset's card, and the dataset is published.
"""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import PartialState
from trl import ModelConfig

from equal_hf import EqualConfig
from equal_hf.cli import in_one_line
from equal_hf.cli.arguments import RunArguments
from equal_hf.cli.drive import drive
from equal_hf.cli.parse_config import parse_config
from equal_hf.cli.train import train
from equal_hf.records.summary import format_summary

HERE = Path(__file__).parent


def main(argv: list[str]) -> int:
    run, args, model = parse_config((RunArguments, EqualConfig, ModelConfig), argv, default=HERE / "mistral_math.yaml")
    summary = drive(run, args, model, train)
    if PartialState().is_main_process:
        print(format_summary(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(sys.argv[1:])))
