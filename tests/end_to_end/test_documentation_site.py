"""The documentation site as `make docs` builds it: no warning, no dead link, nothing from the network."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHROMIUM = shutil.which("chromium")
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Page(HTMLParser):
    """Places a page has, where its links lead, and what it loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.places, self.links, self.loads = path, {""}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        loaded = values.get("href") if tag == "link" else values.get("src")
        if loaded and not loaded.startswith("data:"):
            self.loads.append(loaded)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Page]:
    """Every page of a strict build, by its file."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=quiet, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert "WARNING" not in done.stderr
    (folder / "404.html").unlink()  # its links start at the root of a server
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def test_every_document_is_a_page_that_readers_can_reach(site):
    home = min(site, key=lambda path: len(path.parts))
    reached, ahead = set(), [home]
    while ahead:
        path = ahead.pop()
        if path in site and path not in reached:
            reached.add(path)
            ahead += [(path.parent / urlsplit(link).path).resolve() for link in site[path].links]
    documents = list((PROJECT / "docs").rglob("*.md"))
    assert len(documents) > 30
    pages = [path.with_name("index.html" if path.name == "README.md" else f"{path.stem}.html") for path in documents]
    assert [page for page in pages if home.parent / page.relative_to(PROJECT / "docs") not in reached] == []


def test_every_internal_link_leads_somewhere(site):
    dead, checked = [], 0
    for path, page in site.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = site[target].places if target in site else {parts.fragment} if target.is_file() else set()
            if unquote(parts.fragment) not in known:
                dead.append(f"{path.name}: {link}")
    assert checked > 1000
    assert dead == []


def test_pages_load_nothing_from_elsewhere(site):
    foreign = {load for page in site.values() for load in page.loads if urlsplit(load).netloc}
    assert foreign == set()


def test_the_page_of_commands_shows_every_command(site):
    (page,) = [path for path in site if path.name == "commands.html"]
    text = page.read_text()
    assert [
        name for name in ("refresh", "benchmark", "lineage", "clean", "summary", "mlflow") if name not in text
    ] == []
    assert "--dry-run" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: install it to test the pages")
def test_the_search_finds_pages_of_a_site_that_is_opened_from_files(site):
    home = min(site, key=lambda path: len(path.parts))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto((home.parent / "how_to" / "refresh.html").as_uri())
        page.locator("input[name=query]").first.press_sequentially("conformal")  # the theme listens to keys
        found = page.locator("a.md-search-result__link")
        expect(found.first).to_be_visible(timeout=20_000)
        found.first.click()
        expect(page).to_have_url(re.compile(r"^file:.*/how_to/score\.html"))
        browser.close()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_outside_the_site_lead_to_files(name):
    links = [link for link in LINK.findall((PROJECT / name).read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (PROJECT / link.partition("#")[0]).exists()] == []


def test_python_in_the_reference_runs():
    blocks = [
        block for path in (PROJECT / "docs" / "reference").glob("*.md") for block in PYTHON.findall(path.read_text())
    ]
    assert blocks
    for block in blocks:
        exec(compile(block, "a block of the reference", "exec"), {})
