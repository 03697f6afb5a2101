"""What a machine has and lacks for a run: packages, accelerator, disk, Hub, trackers, endpoint. Changes nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equal_hf.errors import EqualError
from equal_hf.types import Document
from equal_hf.utils.redaction import mask_text

if TYPE_CHECKING:
    from equal_hf.cli.arguments import RunArguments

LEAST_FREE_GB = 5.0
CORE = ("torch", "transformers", "trl", "accelerate", "datasets", "huggingface_hub", "sentence-transformers", "POT")
EXTRAS = {"report": ("plotly", "matplotlib"), "wandb": ("wandb",), "trackio": ("trackio",)}
_TEXT = (
    "Water boils at 100 degrees Celsius at sea level. At higher altitudes the air pressure is lower, so water boils "
    "at a lower temperature; on a mountain of 3,000 metres it boils at about 90 degrees."
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name (`str`): What.
        status (`"ok"`, `"note"` or `"problem"`): A problem keeps a run from starting; a note does not.
        found (`str`): What was found.
        remedy (`str`, *optional*): What to do about it.
    """

    name: str
    status: Literal["ok", "note", "problem"]
    found: str
    remedy: str = ""


def check_packages() -> Iterator[Check]:
    """The packages a run needs, and FAISS, of which there must be one and not two."""
    missing = [name for name in CORE if _version(name) is None]
    shown = ", ".join(f"{name} {_version(name)}" for name in CORE if name not in missing)
    remedy = "pip install equal-hf"
    yield (
        Check("packages", "problem", f"not installed: {', '.join(missing)}", remedy)
        if missing
        else Check("packages", "ok", shown)
    )
    yield check_faiss(dist.metadata["Name"] or "" for dist in distributions())
    for extra, names in EXTRAS.items():
        absent = [name for name in names if _version(name) is None]
        said = ", ".join(f"{name} {_version(name) or 'not installed'}" for name in names)
        yield Check(extra, "note" if absent else "ok", said, f'pip install "equal-hf[{extra}]"' if absent else "")


def check_faiss(installed: Any) -> Check:
    """FAISS among the names of installed packages.

    >>> check_faiss(["faiss-cpu", "numpy"]).status, check_faiss(["numpy"]).status
    ('ok', 'problem')
    >>> check_faiss(["faiss-cpu", "faiss-gpu-cu12"]).found
    'faiss-cpu and faiss-gpu-cu12 are both installed and overwrite each other'
    """
    found = sorted({name.lower() for name in installed if name.lower().replace("_", "-").startswith("faiss-")})
    if len(found) > 1:
        remedy = f"pip uninstall {' '.join(found)}, then install one of them again"
        return Check("faiss", "problem", f"{' and '.join(found)} are both installed and overwrite each other", remedy)
    if not found:
        remedy = 'pip install "equal-hf[cpu]" or, on a machine with an NVIDIA GPU, "equal-hf[gpu]"'
        return Check("faiss", "problem", "neither faiss-cpu nor faiss-gpu is installed", remedy)
    return Check("faiss", "ok", f"{found[0]} {_version(found[0])}")


def check_device(use_cpu: bool = False) -> Check:
    """The accelerator."""
    import torch

    if not torch.accelerator.is_available():
        said = "PyTorch sees no accelerator; `equal-hf collect` needs none"
        return Check("accelerator", "ok" if use_cpu else "note", said, "" if use_cpu else "to train: `use_cpu: true`")
    kind = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count()
    if kind is not None and kind.type == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("accelerator", "ok", f"{count} × {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    return Check("accelerator", "ok", f"{count} × {kind}")


def check_disk(folder: str | Path) -> Check:
    """Free space where the run will be."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free / 1e9
    if not os.access(path, os.W_OK):
        return Check("disk", "problem", f"{path} cannot be written to", "set `output_dir` to another folder")
    found = f"{free:,.1f} GB free at {path}"
    if free < LEAST_FREE_GB:
        return Check("disk", "note", found, "make room, or set `output_dir` to another disk")
    return Check("disk", "ok", found)


def check_hub(
    repo_id: str | None = None, wanted: bool = False, token: str | None = None, run_dir: str | Path = "."
) -> Check:
    """The Hub token, and whether it may write; asks the Hub, and makes nothing there.

    Args:
        repo_id (`str`, *optional*): The dataset repository that a run would publish to.
        wanted (`bool`, *optional*, defaults to `False`): Whether the run publishes.
        token (`str`, *optional*): The token; the stored one where left out.
        run_dir (`str` or `Path`, *optional*, defaults to `"."`): The run folder.
    """
    from huggingface_hub import HfApi, get_token

    from equal_hf.utils.hub_retry import limit_silence, retry_hub

    status: Literal["note", "problem"] = "problem" if wanted else "note"
    if not (token or get_token()):
        said = "no token (HF_TOKEN, or `hf auth login`): only public repositories can be read"
        return Check("hub", status, said, "hf auth login" if wanted else "")
    limit_silence()
    api = HfApi(token=token)
    try:
        account = retry_hub(api.whoami, "asking the Hub who this is", "hub_token", attempts=1)
        role = account.get("auth", {}).get("accessToken", {}).get("role", "unknown")
        found = f"{account['name']} at {api.endpoint}, token role: {role}"
        if role == "read":
            remedy = f"make a token with write access at {api.endpoint}/settings/tokens"
            return Check("hub", status, f"{found}; it may not publish", remedy)
        if repo_id and "/" in repo_id:
            if api.repo_exists(repo_id, repo_type="dataset"):
                check = _may_publish(api, repo_id, run_dir)
                retry_hub(check, f"checking write access to {repo_id!r}", "hub_dataset_id", attempts=1)
                found += f"; may write to {repo_id}"
            elif (space := repo_id.split("/")[0]) != account["name"] and space not in {
                organisation["name"] for organisation in account.get("orgs", [])
            }:
                return Check(
                    "hub", status, f"{found}; no member of {space}", "set `hub_dataset_id` to a namespace of yours"
                )
    except EqualError as error:
        return Check("hub", status, mask_text(str(error)))  # which says what to do
    except Exception as error:  # whatever the network stack raises, the Hub was not reached
        return Check("hub", status, f"the Hub cannot be asked ({type(error).__name__})", "look at the network")
    return Check("hub", "ok", found)


def check_wandb(wanted: bool = False) -> Check:
    """Whether W&B would log online."""
    if _version("wandb") is None:
        remedy = 'pip install "equal-hf[wandb]"' if wanted else ""
        return Check("W&B", "problem" if wanted else "note", "not installed", remedy)
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return Check("W&B", "ok", f"WANDB_MODE is {mode}")
    if not os.environ.get("WANDB_API_KEY") and not _in_netrc("wandb"):
        return Check("W&B", "note", "no key: runs are logged offline, for `wandb sync`", "wandb login")
    return Check("W&B", "ok", "a key is set")


def check_endpoint(run: RunArguments, prepare: Callable[[str], Any]) -> Check:
    """What the endpoint is, what it allows, whether it heeds a schema, and how long a short document takes.

    Args:
        run ([`RunArguments`]): The arguments.
        prepare (`Callable[[str], Extractor]`): Makes the extractor, given a folder for its store.
    """
    if run.extractor != "endpoint":
        return Check("endpoint", "ok", f"none is needed: `extractor` is {run.extractor}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            extractor = prepare(folder)
            told = extractor.describe()["endpoints"]
            began = time.monotonic()
            (extraction,) = extractor.extract([Document("check", _TEXT)])
        except EqualError as error:
            return Check("endpoint", "problem", mask_text(str(error)))  # which says what to do
        seconds = time.monotonic() - began
    usage = extraction.usage
    listed = "; ".join(
        f"{one['url']} is {one['dialect']}, model {one['model']} ({one['revision']}), schema {one['schema']}, "
        f"prompts up to {one['max_prompt_tokens'] or 'an unknown number of'} tokens, "
        f"up to {one['max_concurrent']} at once"
        for one in told
    )
    found = (
        f"{listed}. A short document took {seconds:.1f} s, {usage.prompt_tokens} prompt and "
        f"{usage.completion_tokens} completion tokens, and gave {len(extraction.pairs)} pairs"
    )
    if not extraction.pairs:
        reasons = ", ".join(extraction.dropped) or "an empty reply"
        return Check("endpoint", "note", found, f"no pair came of it ({reasons}): is the model instruction-tuned?")
    if any(one["schema"] != "heeded" for one in told):
        return Check("endpoint", "note", found, "serve it with guided decoding, or expect more replies to be dropped")
    return Check("endpoint", "ok", found)


def _may_publish(api: Any, repo_id: str, run_dir: str | Path) -> Callable[[], None]:
    from equal_hf.publishing.previous_export import HubExport, known_identities

    def check() -> None:
        api.auth_check(repo_id, repo_type="dataset", write=True)
        HubExport.read(api, repo_id).check(known_identities(run_dir))

    return check


def _in_netrc(name: str) -> bool:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return name in path.read_text(encoding="utf-8")
    except OSError:
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
