"""A document as the requests to be made for it: each within the endpoint's limit, each with a bound on its tokens.

Where the server counts tokens, or the model's tokenizer is at hand, the bound is the count of the prompt as the server
will see it, chat template included.
Where neither does, the bound is the prompt's UTF-8 bytes, since a token of a byte-level or byte-fallback tokenizer
stands for at least one byte, plus all the tokens of a short request made at the start, which hold the chat template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equal_hf.errors import ConfigError, EndpointError
from equal_hf.extraction.prompts.template import PromptTemplate
from equal_hf.extraction.requests.split_text import Span, split_text
from equal_hf.extraction.transport.dialects import PostJson, Server, count_prompt, count_text
from equal_hf.extraction.transport.faults import Refusal, TransportFault
from equal_hf.types import Messages

Tokenizer = Any  # transformers' PreTrainedTokenizerBase, which takes seconds to import

# Room for what may differ between counting a prompt and running it.
MARGIN_TOKENS = 8
# What a chat template may take where the server tells neither counts nor usage.
_UNKNOWN_TEMPLATE_TOKENS = 512
# Nothing longer is sent to be counted: servers cap a request's body (TGI at 2 MB).
_MAX_COUNTED_CHARACTERS = 200_000
_MIN_ROOM_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request to come.

    Args:
        span (`Span`): The characters of the document that it shows.
        messages (`list[dict[str, str]]`): What is sent.
        prompt_tokens (`int`): Upper bound of the prompt's tokens.
    """

    span: Span
    messages: Messages
    prompt_tokens: int


class TokenBounds:
    """Upper bounds of prompts' tokens for one server and one prompt.

    Args:
        server (`Server`): The server.
        counts (`bool`): Whether somebody counts tokens: the server, or the tokenizer.
        drift (`int`): By how much a request that was made exceeded its count.
        template (`int`): Tokens that the chat template adds, or more.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer; the server is not asked then.
    """

    def __init__(
        self, server: Server, *, counts: bool, drift: int, template: int, tokenizer: Tokenizer | None = None
    ) -> None:
        self.server = server
        self.tokenizer = tokenizer
        self.counts = counts
        self.drift = drift
        self.template = template
        self.repair = 0  # tokens that asking again adds to a prompt
        self.empty = 0  # bound of the prompt around an empty document

    @classmethod
    async def measure(
        cls,
        post: PostJson,
        server: Server,
        prompt: PromptTemplate,
        messages: Messages,
        seen: int | None,
        tokenizer: Tokenizer | None = None,
    ) -> TokenBounds:
        """Learn the bounds from one short request that was made.

        Args:
            post (`Callable`): Posts to a path of the server.
            server (`Server`): What it is.
            prompt (`PromptTemplate`): The prompt in use.
            messages (`list[dict[str, str]]`): What was sent.
            seen (`int`, *optional*): How many prompt tokens the server says that was.
            tokenizer (`PreTrainedTokenizerBase`, *optional*): The model's tokenizer.
        """
        try:
            counted: int | None = await _count_prompt(post, server, messages, tokenizer)
        except (Refusal, EndpointError):
            counted = None
        except TransportFault as fault:
            if fault.kind not in ("malformed", "odd"):
                raise
            counted = None
        bounds = cls(
            server,
            counts=counted is not None,
            drift=max(0, (seen or 0) - (counted or 0)) if counted is not None else 0,
            template=max(seen or 0, counted or 0) or _UNKNOWN_TEMPLATE_TOKENS,
            tokenizer=tokenizer,
        )
        bounds.empty = await bounds.counted(post, prompt.messages(""))
        again = await bounds.counted(post, prompt.messages("", repair=True))
        bounds.repair = again - bounds.empty + MARGIN_TOKENS
        return bounds

    def require_room(self, limit: int | None, reserve: int = 0) -> None:
        """Raise `ConfigError` if the prompt leaves no room for a document within a limit, less a reserve."""
        if limit is not None and limit - self.empty - self.repair - reserve < _MIN_ROOM_TOKENS:
            raise ConfigError(
                f"The extraction prompt takes {self.empty + self.repair + reserve} tokens by itself, and of the "
                f"endpoint's context `extractor_max_new_tokens` leaves {limit} for it and a document. Lower "
                "`extractor_max_new_tokens`, shorten the prompt, or start the server with a larger context."
            )

    def by_bytes(self, messages: Messages) -> int:
        """A bound that takes no request."""
        return sum(_bytes(message["content"]) for message in messages) + self.template + MARGIN_TOKENS

    async def counted(self, post: PostJson, messages: Messages) -> int:
        """The tightest bound there is; by bytes where the server counts no tokens."""
        loose = self.by_bytes(messages)
        if not self.counts or loose > 4 * _MAX_COUNTED_CHARACTERS:
            return loose
        return await _count_prompt(post, self.server, messages, self.tokenizer) + self.drift + MARGIN_TOKENS


class Chunker:
    """Turns documents into requests.

    Args:
        post (`Callable`): Posts to a path of a server that counts.
        bounds ([`TokenBounds`]): How prompts are bounded.
        prompt ([`PromptTemplate`]): The prompt.
        limit (`int`, *optional*): Most tokens of a prompt; `None` for no limit.
        reserve (`int`, *optional*, defaults to `0`): Tokens of the limit to leave free, for a second request about the
            same chunk.
    """

    def __init__(
        self, post: PostJson, bounds: TokenBounds, prompt: PromptTemplate, limit: int | None, reserve: int = 0
    ) -> None:
        self.post, self.bounds, self.prompt, self.limit = post, bounds, prompt, limit
        self._room = None if limit is None else limit - bounds.repair - reserve

    async def plan(self, text: str, *, tight: bool) -> list[Chunk]:
        """One request if the text fits, else as few as it takes, split at natural boundaries.

        Args:
            text (`str`): The document's text.
            tight (`bool`): Whether to count even what fits by its bytes, because an allowance depends on it.

        Returns:
            `list[Chunk]`: In document order; blank chunks are skipped.
        """
        bounds, room = self.bounds, self._room
        messages = self.prompt.messages(text)
        tokens = bounds.by_bytes(messages)
        if tight or (room is not None and tokens > room):
            tokens = await bounds.counted(self.post, messages)
        if room is None or tokens <= room:
            return [Chunk(Span(0, len(text)), messages, tokens)]
        size = room - bounds.empty
        while True:
            spans = [span for span in await self._split(text, size) if text[slice(*span)].strip()]
            rendered = [self.prompt.messages(text[slice(*span)]) for span in spans]
            counts = [await bounds.counted(self.post, messages) for messages in rendered]
            if all(count <= room for count in counts):
                return [Chunk(*chunk) for chunk in zip(spans, rendered, counts, strict=True)]
            size = int(size * 0.9)  # the tokens at the seams did not add up

    async def _split(self, text: str, size: int) -> list[Span]:
        """`split_text` with a server that counts: each time it lacks a count, that is fetched and it starts over."""
        if not self.bounds.counts:
            return split_text(text, size, _bytes)
        spans = []
        # Starting over costs the square of the number of chunks, so a very long text is cut into stretches first.
        for start, end in split_text(text, _MAX_COUNTED_CHARACTERS, len):
            chunks = await self._split_stretch(text[start:end], size)
            spans += [Span(start + chunk.start, start + chunk.end) for chunk in chunks]
        return spans

    async def _split_stretch(self, text: str, size: int) -> list[Span]:
        counts: dict[str, int] = {}

        def count(piece: str) -> int:
            if piece not in counts:
                raise _UncountedError(piece)
            return counts[piece]

        while True:
            try:
                return split_text(text, size, count)
            except _UncountedError as uncounted:
                if self.bounds.tokenizer is not None:
                    counts[uncounted.text] = len(
                        self.bounds.tokenizer(uncounted.text, add_special_tokens=False)["input_ids"]
                    )
                else:
                    counts[uncounted.text] = await count_text(self.post, self.bounds.server, uncounted.text)


async def _count_prompt(post: PostJson, server: Server, messages: Messages, tokenizer: Tokenizer | None) -> int:
    if tokenizer is None:
        return await count_prompt(post, server, messages)
    return len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


class _UncountedError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
