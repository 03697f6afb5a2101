"""From the records of a run to an ordinary dataset folder, in the layout it has on the Hub.

```
README.md                          the card; configurations `default`, `rejected`, `decisions`
equal.json                         the run's id, and the metadata that the run wrote into the card
data/train/round-00007.parquet     one file a round, never changed but by what training tells of its pairs
data/rejected/round-00007.parquet
data/decisions/round-00007.parquet written again when the round's rewards are known
equal.yaml, prompt.jinja           the settings that were given, and the template of the prompt
pictures/progress.png              shown in the card; only where matplotlib is installed
```

The same records give the same bytes; writing over an earlier export changes only what is new.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equal_hf.corpus.provenance import Provenance
from equal_hf.errors import MissingDependencyError, PublishError
from equal_hf.extraction.responses.ledger_lines import money_rows
from equal_hf.extraction.responses.store_stats import run_ledger
from equal_hf.publishing.dataset_card import dataset_card
from equal_hf.publishing.dataset_metadata import CONFIGS, Published, dataset_metadata
from equal_hf.publishing.dataset_shards import Shards, refuse_link, write_once
from equal_hf.publishing.dataset_tables import decision_table, filters_hash, masked, pair_table, rejected_table
from equal_hf.publishing.previous_export import (
    CARD,
    MANIFEST,
    PreviousExport,
    default_folder,
    last_push,
    run_identities,
)
from equal_hf.publishing.reproduce import PROMPT, SETTINGS, reproduction_files
from equal_hf.records.earlier_schema import current_rejected
from equal_hf.records.json_files import read_json
from equal_hf.records.run_file import RunFile
from equal_hf.records.run_folder import RoundRecords, read_parquet
from equal_hf.records.schema import PAIR_COLUMNS
from equal_hf.records.statistics import RunStatistics
from equal_hf.utils.hub_repository import hub_id
from equal_hf.utils.known_secrets import mask_known

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

PICTURES = "pictures"
LANGUAGES = ("language", "lang")  # columns of the corpus that the card reads


def dataset_files(folder: Path) -> dict[str, Path]:
    """The files of an exported dataset, by their names on the Hub: those that its manifest lists, with the manifest.

    Whatever else lies in the folder is somebody else's, and so is what a link leads to.

    Raises:
        [`PublishError`]: If one of them is missing or a link.
    """
    names = [*(PreviousExport.read(folder).manifest or {}).get("files", []), MANIFEST, CARD]
    paths = {name: folder / name for name in names}
    for path in paths.values():
        refuse_link(folder, path)
        if not path.is_file():
            raise PublishError(f"{path} of the exported dataset is missing: export it again")
    return dict(sorted(paths.items()))


def export_dataset(
    run_dir: str | Path,
    out_dir: str | Path | None = None,
    *,
    summary: Mapping[str, Any] | None = None,
    name: str | None = None,
    previous: PreviousExport | None = None,
) -> Path:
    """Write what a run has collected so far as a dataset that `load_dataset` opens.

    Args:
        run_dir (`str` or `Path`): The run folder.
        out_dir (`str` or `Path`, *optional*): The folder to write; `run_dir/hub/dataset` by default.
        summary (`Mapping[str, Any]`, *optional*): EQUAL beside its control, for the card; by default what is in
            `run_dir/summary.json`, if anything.
        name (`str`, *optional*): The name in the card's `load_dataset` example; by default the repository that the
            folder was last pushed to, or the folder's name.
        previous ([`PreviousExport`], *optional*): The export whose card holds a person's additions; by default the one
            in `out_dir`.

    Returns:
        `Path`: The dataset folder.

    Raises:
        [`PublishError`]: If no round is recorded, or `out_dir` holds something else.
        [`RecordError`]: If a record is damaged.
    """
    records = RoundRecords(run_dir)
    indices = records.indices()
    if not indices:
        raise PublishError(f"{run_dir} holds no recorded round: point `run_dir` at a run folder, or collect first")
    folder = default_folder(run_dir) if out_dir is None else Path(out_dir)
    run_json = RunFile(run_dir).read()
    stats, run = RunStatistics(Path(run_dir), run_json), run_identities(run_json)
    here = PreviousExport.read(folder)
    here.check(run, str(folder), "out_dir")
    previous = here if previous is None else previous

    filters = filters_hash(run_json)
    shards, provenance = Shards(folder, here), Provenance()
    decisions: dict[int, tuple[pa.Table, Mapping[str, Any]]] = {}
    for index in indices:
        round, reward_record = records.load(index), records.reward_record(index)
        recorded = masked(records.pair_table(index))
        own = recorded.drop_columns(list(PAIR_COLUMNS))
        provenance.add(own.to_pylist())
        languages = {name: own[name].to_pylist() for name in LANGUAGES if name in own.column_names}
        stats.add(records, index, round, languages)
        shards.add("train", index, pair_table(recorded, round, filters))
        rejected = masked(current_rejected(read_parquet(records.folder(index) / "extracted" / "rejected.parquet")))
        shards.add("rejected", index, rejected_table(rejected, index, records.provenance(index)))
        decisions[index] = records.decision_table(index), reward_record or {"rewards": round.rewards}
    names = list(dict.fromkeys(name for round in stats.rounds for name in round.rewards))
    for index, (table, rewards) in decisions.items():
        shards.add("decisions", index, decision_table(table, rewards, names))
    stats.contents, stats.money = shards.finish(), money_rows(run_ledger(run_dir, stats.run))

    if summary is None and (path := Path(run_dir) / "summary.json").exists():
        summary = read_json(path)
    pushed_to = last_push(run_dir).get("repo_id") if folder == default_folder(run_dir) else None
    pictures = _draw(run_dir)
    for picture, content in pictures.items():
        write_once(folder, f"{PICTURES}/{picture}", content)
    name, own_files = name or pushed_to or folder.name, reproduction_files(stats.run)
    for own_name, content in own_files.items():
        write_once(folder, own_name, content)
    data = {config: shards.joined(kind) for config, kind in CONFIGS.items()}
    published = Published(
        files={config: facts for config, facts in data.items() if facts.rows},
        provenance=provenance,
        repo_id=name if hub_id(name) else None,
        prompt=PROMPT in own_files,
        settings=SETTINGS in own_files,
    )
    card = dataset_card(
        stats,
        name=name,
        summary=summary,
        published=published,
        previous=previous.card,
        written=(previous.manifest or {}).get("metadata"),
        pictures=[f"{PICTURES}/{picture}" for picture in pictures],
    )
    files = sorted([*shards.names(), *own_files, *(f"{PICTURES}/{picture}" for picture in pictures)])
    metadata = dataset_metadata(stats, published)
    manifest = {"run": run[0], "rounds": len(indices), "metadata": metadata, "files": files}
    write_once(folder, MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    write_once(folder, CARD, mask_known(card).encode("utf-8", "replace"))
    return folder


def _draw(run_dir: str | Path) -> dict[str, bytes]:
    from equal_hf.report.write_report import run_pictures

    try:
        return run_pictures(run_dir)
    except MissingDependencyError as error:
        logger.info("The dataset card goes without pictures: %s", error)
        return {}
