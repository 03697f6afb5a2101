"""An alignment and an index on forked processes that are killed again and again until it is done.

    python -m tests.corpus.indexing.chain CONFIG --ranks 2 --kill-every 7 [--plain]

Everything is imported once and every attempt is forked from there. An attempt is killed with SIGKILL when one of its
ranks is about to put its n-th file in place, so that over the attempts every stage is hit. Prints how many were
killed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys

from tests.processes import free_port


def attempt(config: str, flags: list[str], rank: int, ranks: int, port: int, kill_at: int | None) -> None:
    """One process of an attempt; never returns."""
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    replace, seen = os.replace, 0

    def counted(source, target):
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted
    code = (plain if flags[:1] == ["--plain"] else align_and_index)(config, flags)
    sys.stdout.flush()
    os._exit(code)


def align_and_index(config: str, flags: list[str]) -> int:
    """`equal-hf align`, unless `align` is false, and `equal-hf index`; prints what they gave as JSON."""
    from equal_hf.cli import align, index
    from equal_hf.cli.index_arguments import parse_index
    from equal_hf.errors import EqualError
    from equal_hf.utils.distributed import Ranks

    ranks = Ranks()
    try:
        settings, output_dir, seed = parse_index(config, flags)
        aligned = {} if settings.align is False else align.align(settings, output_dir, seed, ranks=ranks)
        summary = index.index(settings, output_dir, seed, ranks=ranks)
    except EqualError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        ranks.close()
    if ranks.first:
        print(json.dumps(summary | {name: aligned.get(name) for name in ("extraction", "alignment")}))
    return 0


def plain(config: str, flags: list[str]) -> int:
    """The corpus of a run, built by all ranks; every rank prints how many texts it embedded."""
    from equal_hf.cli.index_arguments import parse_index
    from equal_hf.corpus.embedder import Embedder
    from equal_hf.corpus.run_corpus import open_corpus
    from equal_hf.utils.distributed import Ranks
    from equal_hf.utils.logging import set_up_terminal

    ranks, encode = Ranks(), Embedder.encode_documents

    def counted(self, texts, **settings):
        if len(texts) > 1:  # not the probe of the manifest
            # One write that begins its own line: the ranks share a log, and an unbuffered `print` writes twice.
            os.write(1, f"\nembedded {len(texts)} on {ranks.rank}\n".encode())
        return encode(self, texts, **settings)

    Embedder.encode_documents = counted
    set_up_terminal(is_main_process=ranks.first)
    settings, output_dir, seed = parse_index(config, flags[1:])
    open_corpus(settings, output_dir, seed, ranks=ranks)
    ranks.close()
    return 0


def run(config: str, flags: list[str], ranks: int, kill_every: int | None) -> tuple[int, int]:
    """Attempts until one ends by itself; how many were killed, and its exit code."""
    killed = 0
    while True:
        port = free_port()
        victim = killed % ranks
        children = {}
        for rank in range(ranks):
            # Later attempts live longer: the last stage has as much to do as a kill leaves.
            kill_at = kill_every + killed if kill_every is not None and rank == victim else None
            child = os.fork()
            if not child:
                attempt(config, flags, rank, ranks, port, kill_at)
            children[child] = rank
        codes: dict[int, int] = {}
        while children:
            child, status = os.wait()
            codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
            if -signal.SIGKILL in codes.values():
                for other in children:
                    os.kill(other, signal.SIGKILL)
        if -signal.SIGKILL not in codes.values():
            return killed, max(codes.values())
        killed += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--kill-every", type=int)
    parser.add_argument("--plain", action="store_true", help="a run's own corpus")
    options, flags = parser.parse_known_args()
    if options.plain:
        flags.insert(0, "--plain")
    import datasets  # noqa: F401
    import faiss  # noqa: F401
    import sentence_transformers  # noqa: F401
    import sklearn.manifold  # noqa: F401
    import trl  # noqa: F401

    import equal_hf.alignment.run  # noqa: F401

    killed, code = run(options.config, flags, options.ranks, options.kill_every)
    print(f"killed {killed}", flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
