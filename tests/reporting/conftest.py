"""A browser over the reports: the system's own, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reporting.samples import sample_report
from tledge.reporting import html

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("needs a Chromium on PATH to open report.html: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's sandbox refuses to start for root
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=as_root)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html of the sample. Read only."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html.render(sample_report()), encoding="utf-8")
    return path
