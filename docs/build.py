"""Build the documentation with Hugging Face's doc-builder, as MDX or, where its network is there, as HTML.

    make docs                                      # build/docs, as MDX: what the HTML is made from
    python docs/build.py --repository you/equal-hf --html

On GitHub a page links to files, pages by their `.md`. On a site of documentation pages have no suffix and other files
are not there: in the copy that is built, links to pages lose it, and pictures and links to other files lead to the
repository.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent / "source"
REPOSITORY = Path(__file__).parents[1]
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^):#]+)(?=[)#])")


def with_links_to(repository: str, page: Path) -> str:
    """The text of a page with the links of a site.

    Args:
        repository (`str`): `OWNER/NAME` on GitHub.
        page (`Path`): The page, in `docs/source`.

    Returns:
        `str`: Its Markdown.
    """

    def absolute(match: re.Match[str]) -> str:
        linked, picture = (page.parent / match[2]).resolve(), match[1].startswith("!")
        if linked.is_relative_to(SOURCE.resolve()) and not picture:
            return match[1] + match[2].removesuffix(".md")
        path = linked.relative_to(REPOSITORY.resolve())
        return f"{match[1]}https://github.com/{repository}/{'raw' if picture else 'blob'}/main/{path}"

    return _LINK.sub(absolute, page.read_text(encoding="utf-8"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the documentation with hf-doc-builder.")
    parser.add_argument("--build_dir", type=Path, default=Path("build/docs"))
    parser.add_argument("--repository", default=os.environ.get("GITHUB_REPOSITORY", "OWNER/equal-hf"))
    parser.add_argument("--html", action="store_true", help="HTML too; needs node and doc-builder's own repository")
    args = parser.parse_args(argv)
    owner, _, name = args.repository.partition("/")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(SOURCE, Path(folder) / "source"))
        for page in SOURCE.rglob("*.md"):
            (copy / page.relative_to(SOURCE)).write_text(with_links_to(args.repository, page), encoding="utf-8")
        builder = [sys.executable, "-m", "doc_builder.commands.doc_builder_cli", "build", "equal_hf", str(copy)]
        settings = ["--build_dir", str(args.build_dir), "--clean", "--version", "main", "--version_tag_suffix", ""]
        where = ["--repo_owner", owner, "--repo_name", name, *(["--html"] if args.html else [])]
        return subprocess.run([*builder, *settings, *where]).returncode


if __name__ == "__main__":
    sys.exit(main())
