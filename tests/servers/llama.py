"""A real llama.cpp server (`xllamacpp`) on a tiny model with random weights: chat, JSON schema, `/tokenize`, seeds.

python -m tests.servers.llama --port 0        # prints its URL on the first line of stdout

with spawn("tests.servers.llama") as url:     # from tests.servers
    ...
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.servers.gguf_model import write_tiny_gguf


def start_llama(
    *,
    port: int = 0,
    slots: int = 4,
    slot_tokens: int = 4096,
    api_key: str = "",
    model: str | Path | None = None,
    jinja: bool = False,
):
    """Start llama.cpp in this process, on threads of its own.

    Args:
        port (`int`, *optional*, defaults to `0`): 0 takes a free one.
        slots (`int`, *optional*, defaults to `4`): Requests under way at a time; more wait in a queue.
        slot_tokens (`int`, *optional*, defaults to `4096`): Context of a slot: prompt and reply together.
        api_key (`str`, *optional*): Asked of clients.
        model (`str` or `Path`, *optional*): A GGUF file; a tiny model with random weights where left out.
        jinja (`bool`, *optional*, defaults to `False`): Whether the model's own chat template is used.

    Returns:
        `xllamacpp.Server`: Serves while it is referenced, at `listening_address`.
    """
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.port = port
    settings.n_parallel = slots
    settings.n_ctx = slots * slot_tokens
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.api_keys = [api_key] if api_key else []
    settings.use_jinja = jinja
    settings.warmup = False
    settings.verbosity = -1
    # Reusing a prefix of another prompt changes the last bits of a logit, and a sampled reply with them.
    settings.cache_prompt = False
    settings.cache_ram_mib = 0
    if model is not None:
        settings.model.path = str(model)
        return xllamacpp.Server(settings)
    # Once the model is loaded its file is needed no more, so nothing is left behind however this process ends.
    with tempfile.TemporaryDirectory() as folder:
        settings.model.path = str(write_tiny_gguf(Path(folder) / "tiny-random.gguf"))
        return xllamacpp.Server(settings)


def exit_with_stdin() -> None:
    """End this process when whoever started it is gone."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--slot-tokens", type=int, default=4096)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", help="a GGUF file; a tiny model with random weights where left out")
    parser.add_argument("--jinja", action="store_true", help="use the model's own chat template")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    if options.exit_with_stdin:
        exit_with_stdin()
    server = start_llama(
        port=options.port,
        slots=options.slots,
        slot_tokens=options.slot_tokens,
        api_key=options.api_key,
        model=options.model,
        jinja=options.jinja,
    )
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
