"""What a dataset card says of its data, `dataset_info`: the Hub shows it, and `load_dataset` checks it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is to be told of the Parquet files of one configuration.

    Args:
        schema (`pa.Schema`): Their columns.
        rows (`int`): Rows of all files.
        arrow_bytes (`int`): What these take in memory as `datasets` reads them, the `num_bytes` of a split.
        file_bytes (`int`): Size of all files.
    """

    schema: pa.Schema
    rows: int
    arrow_bytes: int
    file_bytes: int

    @classmethod
    def of_file(cls, file: pa.NativeFile, size: int) -> DataFacts:
        """The facts of one file, which is read for it.

        Args:
            file (`pa.NativeFile`): The file, open.
            size (`int`): Its bytes.
        """
        import pyarrow.dataset as ds

        fragment = ds.ParquetFileFormat().make_fragment(file)
        schema = fragment.physical_schema.remove_metadata()
        if not fragment.row_groups:
            return cls(schema, 0, 0, size)
        # Read as `datasets` does, as many rows at a time: what bits and offsets take depends on it.
        batches = fragment.to_batches(
            batch_size=fragment.row_groups[0].num_rows, batch_readahead=0, fragment_readahead=0, use_threads=False
        )
        counts = [(batch.num_rows, _taken(batch)) for batch in batches]
        return cls(schema, sum(rows for rows, _ in counts), sum(taken for _, taken in counts), size)

    @classmethod
    def joined(cls, parts: Iterable[DataFacts]) -> DataFacts:
        """The facts of several files, with the columns of all."""
        import pyarrow as pa

        parts = list(parts)
        return cls(
            pa.unify_schemas([part.schema for part in parts]),
            sum(part.rows for part in parts),
            sum(part.arrow_bytes for part in parts),
            sum(part.file_bytes for part in parts),
        )


def _taken(batch: pa.RecordBatch) -> int:
    """Bytes of a batch; `datasets` joins batches of one row, which drops the bits of columns without nulls."""
    if batch.num_rows > 1:
        return int(batch.nbytes)
    spare = sum(column.null_count == 0 and column.buffers()[0] is not None for column in batch.columns)
    return int(batch.nbytes) - spare


def size_category(rows: int) -> str:
    """The Hub's word for so many rows.

    >>> size_category(0), size_category(1_000), size_category(20_000_000)
    ('n<1K', '1K<n<10K', '10M<n<100M')
    """
    limits = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    above = [limit for place, limit in enumerate(limits) if rows >= 10 ** (place + 3)]
    if not above:
        return f"n<{limits[0]}"
    return f"{above[-1]}<n<{limits[len(above)]}" if len(above) < len(limits) else f"n>{limits[-1]}"


def dataset_info(configurations: dict[str, DataFacts]) -> list[dict[str, Any]] | dict[str, Any]:
    """The `dataset_info` of a card whose configurations have one split, `train`.

    >>> import pyarrow as pa
    >>> info = dataset_info({"default": DataFacts(pa.schema([("text", pa.string())]), 2, 30, 500)})
    >>> info["features"], info["splits"]
    ([{'name': 'text', 'dtype': 'string'}], [{'name': 'train', 'num_bytes': 30, 'num_examples': 2}])
    >>> info["download_size"], info["dataset_size"]
    (500, 30)
    """
    import datasets
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    infos = DatasetInfosDict()
    for name, facts in configurations.items():
        splits = datasets.SplitDict()
        splits.add(datasets.SplitInfo("train", num_bytes=facts.arrow_bytes, num_examples=facts.rows))
        infos[name] = datasets.DatasetInfo(
            features=datasets.Features.from_arrow_schema(facts.schema),
            splits=splits,
            download_size=facts.file_bytes,
            dataset_size=facts.arrow_bytes,
        )
    data = DatasetCardData()
    infos.to_dataset_card_data(data)
    return data.to_dict()["dataset_info"]  # type: ignore[no-any-return]
