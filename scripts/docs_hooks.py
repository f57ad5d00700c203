"""What `mkdocs build` calls: it completes the navigation and writes the generated parts of the reference.

A page holds a line such as ``<!-- reference: commands -->``, and ``docs_reference.py`` makes what takes its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import docs_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Pages that are written for readers of the repository, and shown on the site too.
_ADOPTED = {"contributing.md": "CONTRIBUTING.md", "reference/run-folder.md": "artifacts/README.md"}
_MARK = re.compile(r"^<!-- reference: ([a-z ]+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder into the place of a line with a star."""
    named = set(_pages(config.nav))
    config.nav = _expanded(config.nav, Path(config.docs_dir), named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live outside of ``docs``."""
    for page, source in _ADOPTED.items():
        files.append(File.generated(config, page, content=_adopted(page, (ROOT / source).read_text(encoding="utf-8"))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write what a page's marks ask for, and turn links to the repository into links to the site.

    Raises KeyError if a mark names something that ``docs_reference.py`` does not make.
    """
    markdown = markdown.replace("](../artifacts/README.md)", "](reference/run-folder.md)")
    return _MARK.sub(lambda mark: docs_reference.PARTS[mark[1]](), markdown)


def _adopted(page: str, text: str) -> str:
    """The text of a repository page with its links to ``docs/`` made relative to the site's page."""
    return text.replace("](docs/", "](" + "../" * page.count("/"))


def _pages(nav: Any) -> list[str]:
    """Every page that the navigation names."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in _pages(entry)]


def _expanded(nav: Any, docs: Path, named: set[str]) -> Any:
    """The navigation without stars."""
    if isinstance(nav, dict):
        return {title: _expanded(entry, docs, named) for title, entry in nav.items()}
    if not isinstance(nav, list):
        return nav
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            found = sorted(path.relative_to(docs).as_posix() for path in docs.glob(entry))
            entries += [page for page in found if page not in named]
        else:
            entries.append(_expanded(entry, docs, named))
    return entries
