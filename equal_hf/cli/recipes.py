"""`equal-hf recipes [FOLDER]`: copy the recipes, which come with the package, to where they can be run and changed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from equal_hf.errors import ConfigError
from equal_hf.utils.files import write_file

FOLDERS = ("recipes", "accelerate_configs")
SUFFIXES = (".py", ".yaml", ".md", ".jinja")
PACKAGE = Path(__file__).parents[1]


def add_parser(subparsers: Any) -> None:
    """Add `recipes` to the commands."""
    parser = subparsers.add_parser(
        "recipes",
        help="copy the YAML files and scripts that come with the package",
        description="Copy the recipes and the configurations of accelerate that come with the package: "
        "FOLDER/recipes and FOLDER/accelerate_configs. A file that is there and differs is left as it is, and is an "
        "error.",
        epilog="example: equal-hf recipes my_folder",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="where to (default: here)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Copy the files.

    Raises:
        [`ConfigError`]: If files of these names are there with other content.
        [`DiskError`]: If the disk is full, or refuses.
    """
    found = recipe_files()
    changed = [name for name, content in found.items() if _differs(args.folder / name, content)]
    if changed:
        raise ConfigError(
            f"{', '.join(map(str, (args.folder / name for name in changed)))}: there already and not as in this "
            "version. Nothing was copied: name another folder, or move them away"
        )
    for name, content in found.items():
        write_file(args.folder / name, content)
    copied = [str(args.folder / name) for name in found]
    print(json.dumps({"files": copied}, indent=2) if args.json else "\n".join(copied))
    return 0


def recipe_files() -> dict[str, bytes]:
    """The recipes and configurations, by path: of the installed package, or of the source tree that it is run from.

    Returns:
        `dict[str, bytes]`: Content by path, such as `recipes/quickstart.yaml`.
    """
    inside = PACKAGE / "_recipes"
    root = inside if inside.is_dir() else PACKAGE.parent
    paths = (path for folder in FOLDERS for path in sorted((root / folder).iterdir()) if path.suffix in SUFFIXES)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): name another folder") from error
