"""Document shards: the corpus on disk in reading order, in files small enough to be one piece of work each.

A shard is named by what it holds, so a shard that another revision of a dataset also has keeps its name, and
everything made from it can be kept as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from equal_hf.errors import CorpusError
from equal_hf.types import Document
from equal_hf.utils.files import replacing
from equal_hf.utils.hashing import digest

SHARD_DOCUMENTS = 8192
CHARACTERS_PER_DOCUMENT = 4096  # a shard of longer documents has fewer of them: it is held in memory
DIGEST_BYTES = 16
DIGEST = "__digest__"  # no metadata column of a dataset is likely to be called this; one that is, is refused


@dataclass(frozen=True, slots=True)
class Shard:
    """One document shard.

    Args:
        key (`str`): Hash of its documents; also its name.
        documents (`int`): How many.
        text_bytes (`int`): Their texts, in UTF-8.
    """

    key: str
    documents: int
    text_bytes: int

    def path(self, folder: Path) -> Path:
        """Where it lies below the folder of document shards."""
        return folder / f"{self.key}.arrow"


def text_digest(text: str) -> bytes:
    """Identity of a text: duplicates are found, embeddings kept and documents ordered by it."""
    return digest(text, DIGEST_BYTES)


def write_shards(
    documents: Iterable[Document], folder: Path, *, max_documents: int = SHARD_DOCUMENTS
) -> Iterator[Shard]:
    """Write documents as shards, in order, and yield each when it is on disk.

    Args:
        documents (`Iterable[Document]`): In any order.
        folder (`Path`): Where the shards go.
        max_documents (`int`, *optional*, defaults to `8192`): Documents in a shard at most; it also ends after
            4,096 characters for each of them.

    Raises:
        CorpusError: A metadata column mixes types, or the disk is full.
    """
    for chunk in _chunks(documents, max_documents):
        table = _table(chunk)
        key = _key(chunk)
        shard = Shard(key, len(chunk), sum(len(document.text.encode()) for document in chunk))
        # Also where there is one of its name: it may be damaged, and is hashed as it is when the piece is recorded.
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with (
            replacing(shard.path(folder)) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, table.schema, options=options) as writer,
        ):
            writer.write_table(table)
        yield shard


def read_shard(path: Path) -> pa.Table:
    """Columns `id`, `text`, the text's digest and metadata of a shard.

    Raises:
        CorpusError: It cannot be read.
    """
    return _read(path, None)


def read_identities(path: Path) -> tuple[np.ndarray, list[str]]:
    """Digests, shape `(n, 16)` uint8, and ids of a shard; its texts are not decompressed."""
    schema = _schema(path)
    table = _read(path, [schema.get_field_index("id"), schema.get_field_index(DIGEST)])
    return digests_of(table[DIGEST]), table["id"].to_pylist()


def digests_of(column: pa.ChunkedArray) -> np.ndarray:
    """A column of digests as an array of shape `(n, 16)`, uint8."""
    buffers = [np.frombuffer(chunk.buffers()[1], np.uint8) for chunk in column.chunks if len(chunk)]
    starts = [chunk.offset for chunk in column.chunks if len(chunk)]
    sizes = [len(chunk) for chunk in column.chunks if len(chunk)]
    parts = [
        buffer.reshape(-1, DIGEST_BYTES)[start : start + size]
        for buffer, start, size in zip(buffers, starts, sizes, strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, DIGEST_BYTES), np.uint8)


def common_schema(paths: Sequence[Path], files: Sequence[str] | None = None) -> pa.Schema:
    """The schema that the documents of all shards fit: `id`, `text`, then metadata.

    Args:
        paths (`Sequence[Path]`): The shards.
        files (`Sequence[str]`, *optional*): For each of them, the file of the dataset that it is from, for messages.

    Raises:
        CorpusError: A metadata column holds values of different kinds in different shards.
    """
    schemas = _without_mixed_unsigned([_schema(path) for path in paths])
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise CorpusError(
            f"A metadata column changes its type from row to row: {_two_types(schemas, files) or error}. Leave it out "
            "with `metadata_columns`."
        ) from error
    schema = schema.remove(schema.get_field_index(DIGEST))
    # A column that is null throughout has no type of its own; Parquet readers expect one.
    return pa.schema([f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in schema])


def _two_types(schemas: Sequence[pa.Schema], files: Sequence[str] | None) -> str:
    """The first column whose types do not fit together, in words: its types, and a file of each."""
    for name in dict.fromkeys(name for schema in schemas for name in schema.names):
        found = [(number, schema.field(name)) for number, schema in enumerate(schemas) if name in schema.names]
        before = pa.schema([found[0][1]])
        for number, field in found[1:]:
            try:
                before = pa.unify_schemas([before, pa.schema([field])], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                first = next(other for other, known in found if not pa.types.is_null(known.type))
                places = [f" in {files[place]}" if files else "" for place in (first, number)]
                return f"{name!r} is {schemas[first].field(name).type}{places[0]} and {field.type}{places[1]}"
    return ""


def _without_mixed_unsigned(schemas: list[pa.Schema]) -> list[pa.Schema]:
    """`uint64` as a decimal where other shards have the column with another type; Arrow would make it signed."""
    names = {
        field.name
        for schema in schemas
        for field in schema
        if field.type == pa.uint64() and any(_type(other, field.name) != field.type for other in schemas)
    }
    wide = pa.decimal128(20, 0)
    return [
        pa.schema([f.with_type(wide) if f.name in names and f.type == pa.uint64() else f for f in schema])
        for schema in schemas
    ]


def _type(schema: pa.Schema, name: str) -> pa.DataType:
    """Type of a column; `uint64` for one that is not there or null throughout, which fits any."""
    index = schema.get_field_index(name)
    return pa.uint64() if index < 0 or pa.types.is_null(schema.field(index).type) else schema.field(index).type


def _read(path: Path, fields: list[int] | None) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source:
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            return pa.ipc.open_file(source, options=options).read_all()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _schema(path: Path) -> pa.Schema:
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).schema
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"The document shard {path} cannot be read: {error}. Remove it and start again.")


def _chunks(documents: Iterable[Document], most: int) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document.text)
        if len(chunk) == most or characters >= most * CHARACTERS_PER_DOCUMENT:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _key(documents: list[Document]) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for document in documents:
        described: list[Any] = [document.id, text_digest(document.text).hex(), dict(document.metadata)]
        hashed.update(json.dumps(described, default=repr, ensure_ascii=True).encode())
    return hashed.hexdigest()


def _table(documents: list[Document]) -> pa.Table:
    columns = {
        "id": pa.array([document.id for document in documents], pa.string()),
        "text": pa.array([document.text for document in documents], pa.large_string()),
        DIGEST: pa.array([text_digest(document.text) for document in documents], pa.binary(DIGEST_BYTES)),
    }
    for name in dict.fromkeys(name for document in documents for name in document.metadata):
        if name == DIGEST:
            raise CorpusError(f"The metadata column {name!r} has a reserved name. Leave it out: `metadata_columns`.")
        try:
            columns[name] = _column([document.metadata.get(name) for document in documents])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            values = [document.metadata.get(name) for document in documents]
            kinds = {"float" if isinstance(value, float) else type(value).__name__ for value in values} - {"NoneType"}
            raise CorpusError(
                f"The metadata column {name!r} mixes values of different types: {', '.join(sorted(kinds))}. Leave it "
                "out with `metadata_columns`."
            ) from error
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array:
    """Values of a metadata column; whole numbers that no signed 64 bits hold take the first type that holds all."""
    for kind in (None, pa.uint64(), pa.decimal128(38, 0)):
        try:
            return pa.array(values, kind)
        except OverflowError:
            continue
        except pa.ArrowInvalid:
            if kind is None:
                raise
    return pa.array([None if value is None else str(value) for value in values])
