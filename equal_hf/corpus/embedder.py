"""Embeddings of documents and pairs: a thin adapter around the user's own `SentenceTransformer`.

A text longer than the model's window is not cut off: it is split into windows of equal length and stands for the mean
of their embeddings.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.utils.hub_retry import wait_for_hub
from equal_hf.utils.printable import first_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


# Text that is sure to hold a window of tokens and still is little to tokenize, and what counts as a window for a model
# without one.
CHARACTERS_PER_TOKEN = 32
UNLIMITED_CHARACTERS = 1 << 18
TOKENIZED_AT_ONCE = 256
# Precision moves a unit vector far less than this, another model far more.
PROBE_TOLERANCE = 0.2
DTYPES = ("auto", "float32", "float16", "bfloat16")


class Embedder:
    """Turns texts into unit vectors.

    Args:
        model (`str` or `SentenceTransformer`): A Hub id, a local folder, or a model already loaded. It must be a text
            model: one that also takes images would open a document that looks like a path or an address of one.
        device (`str`, *optional*): Where a model named by `str` is loaded; chosen by sentence-transformers by default.
        batch_size (`int`, *optional*, defaults to `64`): Texts (or windows) a forward pass.
        revision (`str`, *optional*): Branch, tag or commit of a Hub model.
        max_windows (`int`, *optional*, defaults to `8`): Windows embedded of one text. A text with more is represented
            by `max_windows` of them, spread evenly from its beginning to its end.
        dtype (`str`, *optional*, defaults to `"float32"`): Precision of a model named by `str`: `"float32"`,
            `"float16"`, `"bfloat16"`, or `"auto"`: on a GPU the half precision it is good at, else `"float32"`.
        wait (`bool`, *optional*, defaults to `True`): Whether a Hub that cannot be reached is tried again for minutes.

    Attributes:
        model (`SentenceTransformer`): The model.
        name (`str`): The model as it was named; for a loaded model what its card calls it, else an empty string.
        dimension (`int`): Length of an embedding.
        max_windows (`int`): As above.

    Raises:
        ConfigError: The model cannot be loaded, or takes more than text.
    """

    def __init__(
        self,
        model: str | SentenceTransformer,
        *,
        device: str | None = None,
        batch_size: int = 64,
        revision: str | None = None,
        max_windows: int = 8,
        dtype: str = "float32",
        wait: bool = True,
    ):
        if dtype not in DTYPES:
            raise ConfigError(f"`dtype` of the embedder is {dtype!r}. Set it to one of {', '.join(DTYPES)}.")
        if batch_size < 1 or max_windows < 1:
            raise ConfigError(
                f"`batch_size` ({batch_size}) and `max_windows` ({max_windows}) of the embedder must be 1 or more."
            )
        if isinstance(model, str):
            self.name = model
            model = _load(model, device, revision, dtype, wait=wait)
        else:
            self.name = model.model_card_data.model_id or model.model_card_data.base_model or ""
        if media := {"image", "audio", "video"} & set(model.modalities):
            raise ConfigError(
                f"`embedder`: {self.name or 'the model'} also takes {' and '.join(sorted(media))}, so a document "
                "could make it open a file or an address. Choose a model that takes text alone."
            )
        self.model = model
        self._batch_size = batch_size
        self._fingerprint: str | None = None
        self.max_windows = max_windows
        self.dimension = int(self._encode(["any text"]).shape[1])

    def encode(self, texts: Sequence[str], *, show_progress: bool = False) -> np.ndarray:
        """Embed texts.

        Args:
            texts (`Sequence[str]`): Any number of texts of any length.
            show_progress (`bool`, *optional*, defaults to `False`): Show a progress bar.

        Returns:
            `np.ndarray` of shape `(len(texts), dimension)`, float32: one unit vector a text; all zeros where the model
            knows no token of the text.
        """
        return self.encode_documents(texts, show_progress=show_progress)[0]

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        show_progress: bool = False,
        earlier: np.ndarray | None = None,
        made: Callable[[np.ndarray, float], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embed texts, and say which of them are longer than all windows.

        Args:
            texts (`Sequence[str]`): Any number of texts of any length.
            show_progress (`bool`, *optional*, defaults to `False`): Show a progress bar.
            earlier (`np.ndarray` of shape `(m, dimension)`, float32, *optional*): What `made` was given in an earlier
                call for the same texts, which was stopped; the work goes on from there.
            made (`Callable[[np.ndarray, float], None]`, *optional*): Is given each batch when it is made, shape
                `(n, dimension)`, float32, the longest windows first, and the share of all characters that is done.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: What `encode` gives, and which texts have more than `max_windows` windows:
            shape `(len(texts),)`, bool.
        """
        if not len(texts):
            return np.zeros((0, self.dimension), dtype=np.float32), np.zeros(0, bool)
        windows, owners, long = self._windows(texts)
        beyond = np.zeros(len(texts), bool)
        beyond[sorted(long)] = True
        vectors = _normalise(self._encode(windows, show_progress, earlier, made))
        if len(windows) == len(texts):
            return vectors, beyond
        # Windows are in text order and every text has one at least, so each text is one run of rows.
        starts = np.searchsorted(owners, np.arange(len(texts)))
        return _normalise(np.add.reduceat(vectors, starts, axis=0)), beyond

    def computes(self, probe: Mapping[str, Any]) -> bool:
        """Whether this is the model of a probe, at whatever precision.

        Args:
            probe (`Mapping[str, Any]`): A `text` and its `embedding`, as the manifest of a corpus has them.
        """
        expected = np.asarray(probe["embedding"])
        if self.dimension != len(expected):
            return False
        return float(np.linalg.norm(self.encode([str(probe["text"])])[0] - expected)) <= PROBE_TOLERANCE

    def fingerprint(self) -> str:
        """Identity of what the model computes: a hash of its weights, configuration, tokenizer and window rule."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for key, tensor in sorted(self.model.state_dict().items()):
                digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(_raw_bytes(tensor))
            configs: list[Any] = [
                [type(module).__name__, getattr(module, "get_config_dict", dict)()] for module in self.model.children()
            ]
            settings = [configs, self._prompt(), str(self.model.max_seq_length), self.max_windows]
            digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
            tokenizer = getattr(self.model.tokenizer, "backend_tokenizer", self.model.tokenizer)
            if hasattr(tokenizer, "to_str"):
                # Truncation and padding are left on the tokenizer by whatever was encoded last.
                serialised = json.loads(tokenizer.to_str()) | {"truncation": None, "padding": None}
                digest.update(json.dumps(serialised, sort_keys=True).encode())
            self._fingerprint = digest.hexdigest()[:32]
        return self._fingerprint

    def _encode(
        self,
        windows: Sequence[str],
        show_progress: bool = False,
        earlier: np.ndarray | None = None,
        made: Callable[[np.ndarray, float], None] | None = None,
    ) -> np.ndarray:
        from tqdm.auto import tqdm

        # Windows of like length share a batch, so that little of it is padding. `encode` would do that too, but it
        # gives nothing before all is done.
        lengths = np.asarray([len(window) for window in windows])
        order = np.argsort(-lengths, kind="stable")
        done = np.cumsum(lengths[order]) / max(lengths.sum(), 1)
        vectors = [] if earlier is None else [earlier]
        first, size = sum(map(len, vectors)), self._batch_size
        for start in tqdm(range(first, len(order), size), desc="embedding", disable=not show_progress):
            batch = order[start : start + size]
            rows = self.model.encode(
                [windows[row] for row in batch], batch_size=size, show_progress_bar=False, convert_to_numpy=True
            )
            vectors.append(np.ascontiguousarray(rows, dtype=np.float32))
            if made is not None:
                made(vectors[-1], float(done[start + len(batch) - 1]))
        in_order = np.concatenate(vectors)
        result = np.empty_like(in_order)
        result[order] = in_order
        return result

    def _prompt(self) -> str:
        return self.model.prompts.get(self.model.default_prompt_name or "") or ""

    def _windows(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray, set[int]]:
        """Split the texts to the model's window: the windows, the text that each belongs to, and the texts that have
        too many."""
        limit = self.model.max_seq_length
        if limit is None or limit > 1_000_000:  # what a tokenizer without a limit reports is infinite or some 1e30
            return self._pieces(texts, UNLIMITED_CHARACTERS)
        room = self._room(limit)
        # Tokenizing takes memory for every token, so of a text far too long only as much is tokenized as is embedded.
        pieces, piece_owners, long = self._pieces(texts, CHARACTERS_PER_TOKEN * room)
        # The tokenizer itself, since its wrapper would make Python lists of every token only to have them counted.
        tokenizer = self.model.tokenizer.backend_tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        windows = []
        window_owners: list[int] = []
        for begin in range(0, len(pieces), TOKENIZED_AT_ONCE):
            part = pieces[begin : begin + TOKENIZED_AT_ONCE]
            encodings = tokenizer.encode_batch(part, add_special_tokens=False)
            owners = piece_owners[begin : begin + TOKENIZED_AT_ONCE].tolist()
            for owner, text, encoding in zip(owners, part, encodings, strict=True):
                spans = [(0, len(text))] if len(encoding) <= room else _spans(encoding.offsets, room)
                if owner in long:
                    spans = spans[:1]
                elif len(spans) > self.max_windows:
                    long.add(owner)
                    picks = np.linspace(0, len(spans) - 1, self.max_windows).round().astype(int)
                    spans = [spans[pick] for pick in picks]
                windows += [text[start:end] for start, end in spans]
                window_owners += [owner] * len(spans)
        return windows, np.asarray(window_owners), long

    def _room(self, limit: int) -> int:
        """Tokens of text that fit the window, beside the prompt and special tokens."""
        tokenizer = self.model.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"`embedder`: {self.name or 'the model'} reads {limit} tokens at a time and its tokenizer is not a "
                "fast one, so longer texts cannot be split to it. Choose a model with a fast tokenizer."
            )
        room = limit - len(tokenizer(self._prompt(), verbose=False)["input_ids"])
        if room < 1:
            raise ConfigError(f"`embedder`: its prompt fills the whole window of {limit} tokens. Shorten the prompt.")
        return int(room)

    def _pieces(self, texts: Sequence[str], characters: int) -> tuple[list[str], np.ndarray, set[int]]:
        """Texts as they are, but of one longer than `max_windows` times `characters` that many pieces spread evenly
        over it; the text that each belongs to, and which texts those are."""
        most = self.max_windows * characters
        if all(len(text) <= most for text in texts):
            return list(texts), np.arange(len(texts)), set()
        pieces: list[str] = []
        owners: list[int] = []
        long: set[int] = set()
        for owner, text in enumerate(texts):
            starts = [0]
            if len(text) > most:
                long.add(owner)
                starts = np.linspace(0, len(text) - characters, self.max_windows).round().astype(int).tolist()
            pieces += [text[start : start + characters] if len(text) > most else text for start in starts]
            owners += [owner] * len(starts)
        return pieces, np.asarray(owners), long


def _spans(offsets: Sequence[tuple[int, int]], room: int) -> list[tuple[int, int]]:
    """Character ranges of the fewest runs of tokens that fit `room` and are equally long, give or take one token.

    >>> _spans([(0, 2), (3, 5), (6, 8)], 2)
    [(0, 5), (6, 8)]
    >>> _spans([], 2)
    [(0, 0)]
    """
    if not offsets:
        return [(0, 0)]
    edges = np.linspace(0, len(offsets), math.ceil(len(offsets) / room) + 1).round().astype(int).tolist()
    return [(offsets[a][0], offsets[b - 1][1]) for a, b in itertools.pairwise(edges)]


def _normalise(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(norms > 0, vectors / np.where(norms > 0, norms, 1), 0).astype(np.float32)


def _raw_bytes(tensor: Any) -> bytes:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _load(model: str, device: str | None, revision: str | None, dtype: str, *, wait: bool) -> SentenceTransformer:
    import torch
    from huggingface_hub.errors import HFValidationError
    from sentence_transformers import SentenceTransformer

    def load() -> SentenceTransformer:
        return SentenceTransformer(model, device=device, revision=revision)

    try:
        loaded = wait_for_hub(load, f"loading the embedder {model!r}") if wait else load()
        if dtype == "auto":
            on_gpu = loaded.device.type == "cuda"
            half = "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float16"
            dtype = half if on_gpu else "float32"
        return loaded.to(getattr(torch, dtype))
    except (OSError, ValueError, HFValidationError) as error:
        raise ConfigError(
            f"`embedder`: no sentence-transformers model can be loaded from {model!r}: {first_line(error)}. Name a "
            "local folder or a Hub model that exists and that you may read."
        ) from error
