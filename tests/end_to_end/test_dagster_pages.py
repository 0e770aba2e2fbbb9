"""Dagster's pages as people use them: a lane materialized by a click in a real browser, and its pictures looked at."""

import base64
import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import cv2
import dagster as dg
import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

PROJECT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]
PATIENCE = 480.0  # seconds that the server or the lane may take on a busy machine
LANE = ["images", "tiles", "proxies", "normals", "stage1", "stage2", "members", "detector", "evaluation"]
GROUP = "locations/pipeline.definitions/asset-groups/brain_mri"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: install it to test the pages"),
]


@pytest.fixture(scope="module")
def home(make_home, undisturbed):
    """A home with the sample's versions, which Dagster knows nothing of: a run finds them and makes none anew."""
    home = make_home()
    for name in ("sample", "stores"):
        shutil.copytree(undisturbed.root / name, home.root / name)
    shutil.rmtree(home.root / "stores" / "current")
    yield home
    shutil.rmtree(home.root)


@pytest.fixture(scope="module")
def address(home) -> Iterator[str]:
    """``dagster dev`` with its daemon on a free port; it and all it started end with the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
    log = home.root / "dev.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=PROJECT, env=home.environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}/"
        end = time.monotonic() + PATIENCE
        while not answers(address):
            assert server.poll() is None, f"dagster dev ended: {log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"dagster dev does not answer: {log.read_text()[-3000:]}"
            time.sleep(0.5)
        yield address
    finally:
        end_group(server)
        logging.warning("dagster dev printed: %s", log.read_text()[-3000:])  # pytest shows it where a test failed


def end_group(server: subprocess.Popen) -> None:
    """Ask first, so that the server ends its own children; then make sure of the whole group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(3)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def answers(address: str) -> bool:
    try:
        with urlopen(f"{address}server_info", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_a_lane_is_made_by_a_click_and_its_pictures_are_seen(home, address, page):
    page.goto(address + GROUP)
    page.locator(".CodeMirror").click()
    page.keyboard.type('+key:"brain_mri/evaluation"')
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Materialize all ({len(LANE)})").click()
    page.get_by_text("View", exact=True).click()
    ended = page.get_by_text(re.compile("^(Success|Failure)$")).first
    ended.wait_for(timeout=PATIENCE * 1000)
    assert ended.inner_text() == "Success", page.locator("body").inner_text()[-3000:]
    assert set(home.versions()) == {f"brain_mri/{stage}" for stage in LANE}
    for stage in LANE:
        assert width_of_first_picture(home, f"brain_mri/{stage}") > 200, stage
    for stage, count in {"tiles": 1, "proxies": 1, "stage2": 1, "evaluation": 3}.items():
        look_at_pictures(page, address, f"brain_mri/{stage}", count)
    page.goto(f"{address}assets/brain_mri/images")
    for text in ("one row an image", "proxyano", "Parquet", "patient or duplicate group", "prepare"):
        expect(page.get_by_text(text).first).to_be_visible()


def width_of_first_picture(home, asset: str) -> int:
    """Width of the PNG that is the first metadata entry of the asset's newest event, px."""
    with home.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    first = next(iter(event.asset_materialization.metadata.values()))
    found = re.search(r"data:image/png;base64,([^)]+)", str(first.value))
    assert found, f"{asset}: expected a picture first, got {first}"
    return cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR).shape[1]


def look_at_pictures(page: Page, address: str, asset: str, count: int) -> None:
    """Open the first entries of the asset's newest event by a click, as people do: pictures stand on top."""
    page.goto(f"{address}assets/{asset}?view=events")
    for number in range(count):
        page.get_by_text("[Show Markdown]").nth(number).click()
        picture = page.get_by_role("dialog").locator("img")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200, asset
        page.get_by_role("button", name="Close").click()
        expect(picture).to_be_hidden()
