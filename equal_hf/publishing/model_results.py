"""What a model's card says of how good it is: losses and exact match beside the control's, and the Hub's own form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from equal_hf.publishing.explanations import measure_rows
from equal_hf.utils.markdown import code, number, table

FOLDER = ".eval_results"
HEADS = {"untouched": "before training", "equal": "EQUAL", "uniform": "uniform control"}
_SHOWN = re.compile(r"test_loss|exact_match")
# Registered benchmarks of the Hub, dataset and task, by the target that they are.
BENCHMARKS = {
    "openai/gsm8k": ("openai/gsm8k", "gsm8k"),
    "gsm8k": ("openai/gsm8k", "gsm8k"),
}


def results_section(summary: Mapping[str, Any], targets: list[str]) -> str:
    """A table of measures on the test part of the target, by run.

    Args:
        summary (`Mapping[str, Any]`): `summary.json`, or `{"equal": result.json}`.
        targets (`list[str]`): The targets.
    """
    runs = {name: summary[name] for name in HEADS if isinstance(summary.get(name), Mapping)}
    measures = dict.fromkeys(key for run in runs.values() for key in run if _SHOWN.match(key) and "_stderr" not in key)
    if not measures:
        return ""
    rows = [[code(measure), *(_with_error(run, measure) for run in runs.values())] for measure in measures]
    where = f" of {' and '.join(map(code, targets))}" if targets else ""
    control = ""
    if "uniform" in runs:
        control = " The control was trained as long on pairs of documents drawn uniformly, for the same budget."
    errors = any("±" in str(cell) for row in rows for cell in row)
    head = f"Measured on the test part{where}{'; ± is the standard error by the choice of items' if errors else ''}."
    notes = "\n".join(f"- {line}" for line in measure_rows(measures))
    return f"## Results\n\n{head}{control}\n\n{table(['', *(HEADS[name] for name in runs)], rows)}\n\n{notes}"


def _with_error(run: Mapping[str, Any], measure: str) -> Any:
    value, error = run.get(measure), run.get(f"{measure}_stderr")
    if not isinstance(value, int | float) or not isinstance(error, int | float):
        return value
    return f"{number(value)} ± {number(error)}"


def eval_results(config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, str]:
    """Files of `.eval_results`, by which the Hub shows a model on a benchmark's leaderboard; none where the target was
    no registered benchmark, only a part of it, or another split of it than its test.

    Args:
        config (`Mapping[str, Any]`): Settings of the run.
        result (`Mapping[str, Any]`): `result.json`.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    targets = config.get("target")
    targets = [targets] if isinstance(targets, str) else targets or []
    whole = config.get("n_test") is None and config.get("exact_match_items") is None
    whole = whole and config.get("target_test_split") in ("test", ["test"], None)
    forms = {
        "exact_match_flexible": f"{config.get('exact_match_shots', 5)}-shot, flexible-extract, greedy",
        "exact_match": "zero-shot, chat, greedy",
    }
    files = {}
    for target in targets:
        suffix = f"_{str(target).split('/')[-1]}" if len(targets) > 1 else ""
        measured = [(f"{form}{suffix}", notes) for form, notes in forms.items() if f"{form}{suffix}" in result]
        if not whole or not measured or (found := BENCHMARKS.get(str(target).lower())) is None:
            continue
        (measure, notes), (dataset, task) = measured[0], found
        # In per cent, as that leaderboard's other entries are.
        entry = EvalResultEntry(dataset, task, round(100 * float(result[measure]), 2), notes=f"{notes}; equal-hf")
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
        files[f"{FOLDER}/{task}.yaml"] = text
    return files
