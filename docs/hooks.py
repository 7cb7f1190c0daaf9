"""The pages of the site that lie outside docs/: README and its like, and the tables of the benchmarks.

Links in the documents lead to files of the repository, so that they work where the files are read. On the site, a link
to a file that has a page leads to that page, a link to another file of the repository becomes plain text, and a link to
nothing is left for the strict build to report.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import relpath
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
RESULTS: Final = "benchmarks/results"
TABLES: Final = "benchmarks.md"  # the page of all tables in RESULTS
LINK: Final = re.compile(r"\[([^\]]*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    tables = [path.read_text() for path in sorted((ROOT / RESULTS).glob("*.md"))]
    files.append(File.generated(config, TABLES, content="\n".join(["# Benchmarks\n", *tables])))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    uri = page.file.src_uri
    here = PurePosixPath("" if uri in PAGES or uri == TABLES else "docs") / PurePosixPath(uri).parent

    def as_page(match: re.Match[str]) -> str:
        text, target, anchor = match.groups(default="")
        path = (ROOT / here / target).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            return match[0]
        name = path.relative_to(ROOT).as_posix()
        destination = TABLES if name.startswith(RESULTS) else name.removeprefix("docs/")
        if files.get_file_from_path(destination) is None:
            return text
        return f"[{text}]({relpath(destination, PurePosixPath(uri).parent)}{anchor})"

    return LINK.sub(as_page, markdown)
