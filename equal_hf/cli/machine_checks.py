"""What a machine has and lacks for a run: packages, accelerator, disk, tracker. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Literal

MIN_FREE_GB = 5.0
FULL_GB = 0.05  # records of a few rounds, and nothing else
CORE = ("torch", "transformers", "trl", "accelerate", "datasets", "huggingface_hub", "sentence-transformers", "POT")
EXTRAS = {
    "report": ("plotly", "matplotlib"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "documents": ("trafilatura", "pypdf", "warcio"),
}


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

    @property
    def fails(self) -> bool:
        """Whether it keeps a run from starting."""
        return self.status == "problem"


def check_packages() -> Iterator[Check]:
    """The packages a run needs, and those that some runs need."""
    missing = [name for name in CORE if package_version(name) is None]
    own = f"equal-hf {package_version('equal-hf') or 'not installed'}, Python {platform.python_version()}"
    shown = ", ".join([own, platform.platform(terse=True), *(f"{name} {package_version(name)}" for name in CORE)])
    remedy = "pip install equal-hf"
    yield (
        Check("packages", "problem", f"not installed: {', '.join(missing)}", remedy)
        if missing
        else Check("packages", "ok", shown)
    )
    for extra, names in EXTRAS.items():
        absent = [name for name in names if package_version(name) is None]
        said = ", ".join(f"{name} {package_version(name) or 'not installed'}" for name in names)
        yield Check(extra, "note" if absent else "ok", said, f'pip install "equal-hf[{extra}]"' if absent else "")


def check_faiss(installed: Iterable[str], needed: bool = True) -> Check:
    """FAISS, of which there must be one and not two.

    Args:
        installed (`Iterable[str]`): Names of installed packages.
        needed (`bool`, *optional*, defaults to `True`): Whether there is a corpus to cluster.

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
        return Check("faiss", "problem" if needed else "note", "neither faiss-cpu nor faiss-gpu is installed", remedy)
    return Check("faiss", "ok", f"{found[0]} {package_version(found[0])}")


def check_device(train: bool, use_cpu: bool = False) -> Check:
    """The accelerator.

    Args:
        train (`bool`): Whether a model is trained.
        use_cpu (`bool`, *optional*, defaults to `False`): The setting.
    """
    import torch

    if not torch.accelerator.is_available():
        if use_cpu:
            return Check("accelerator", "ok", "none, and none is needed: `use_cpu` is set")
        found = "no GPU: PyTorch sees no accelerator on this machine"
        remedy = "to train on the CPU all the same set `use_cpu: true`; `equal-hf collect` needs neither"
        return Check("accelerator", "problem" if train else "note", found, remedy)
    kind = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count()
    if kind is not None and kind.type == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("accelerator", "ok", f"{count} × {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    return Check("accelerator", "ok", f"{count} × {kind}")


def check_disk(folder: str | Path, setting: str = "output_dir") -> Check:
    """Whether a folder can be made and written to, and the free space there.

    Args:
        folder (`str` or `Path`): The folder, which need not be there.
        setting (`str`, *optional*, defaults to `"output_dir"`): The setting that names it.
    """
    path = Path(folder).absolute()
    try:
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free / 1e9
    except OSError as error:  # a name too long, a folder that may not be looked into, a drive that is gone
        return Check("disk", "problem", f"{folder} cannot be used: {error.strerror}", f"set `{setting}` to another")
    remedy = f"set `{setting}` to another folder"
    if not path.is_dir():
        below = "" if path == Path(folder).absolute() else f", and {folder} would be below it"
        return Check("disk", "problem", f"{path} is a file{below or ', where a folder is wanted'}", remedy)
    if not os.access(path, os.W_OK | os.X_OK):
        return Check("disk", "problem", f"{path} cannot be written to", remedy)
    found = f"{free:,.1f} GB free at {path}"
    if free < FULL_GB:
        return Check("disk", "problem", found, f"make room, or set `{setting}` to another disk")
    if free < MIN_FREE_GB:
        return Check("disk", "note", found, f"make room, or set `{setting}` to another disk")
    return Check("disk", "ok", found)


def check_wandb(wanted: bool = False) -> Check:
    """Whether W&B would log online."""
    if package_version("wandb") is None:
        remedy = 'pip install "equal-hf[wandb]"' if wanted else ""
        return Check("W&B", "problem" if wanted else "note", "not installed", remedy)
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return Check("W&B", "ok", f"WANDB_MODE is {mode}")
    if not os.environ.get("WANDB_API_KEY") and not _in_netrc("wandb"):
        return Check("W&B", "note", "no key: runs are logged offline, for `wandb sync`", "wandb login")
    return Check("W&B", "ok", "a key is set")


def installed() -> Iterator[str]:
    return (distribution.metadata["Name"] or "" for distribution in distributions())


def _in_netrc(name: str) -> bool:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return name in path.read_text(encoding="utf-8")
    except OSError:
        return False


def package_version(name: str) -> str | None:
    """The version of an installed package; `None` where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
