"""Take the README's picture anew, of a running demo: its volume is segmented first, once.

    mitoglance demo --no-browser --port 8000
    .venv/bin/python tests/browser/take_picture.py http://127.0.0.1:8000

Needs Debian's Chromium (or `CHROMIUM`), and patience where there is no GPU to draw.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from looking import open_volume, wait_for
from PIL import Image, ImageOps
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parents[2] / "docs" / "pictures" / "mitoglance.png"
LARGEST_BYTES = 400_000
SIZE = {"width": 1360, "height": 880}
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LIMIT_S = 1800


def ask(url: str, body: object = None) -> Any:
    """Return what the demo's interface answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def segment(api: str) -> None:
    """Segment the whole demo, three planes voting, unless somebody has."""
    volume = ask(f"{api}/volumes/demo")
    if volume["version"] > 0:
        return
    body = {"roi": volume["bounds"], "mode": "orthoplane"}
    job = ask(f"{api}/volumes/demo/segment", body)["job"]
    end = time.monotonic() + LIMIT_S
    while job["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(1)
        job = ask(f"{api}/jobs/{job['job_id']}")["job"]
    if job["state"] != "done":
        raise SystemExit(f"The demo was not segmented: {job['message']}")


def take(url: str) -> bytes:
    """Return the demo's page as PNG: light, four panels, its objects listed, one of them picked."""
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(LIMIT_S * 100)
        open_volume(page, url, "demo")
        wait_for(page, "!document.querySelector('.tiles').textContent.includes('…')")
        page.locator("summary", has_text="All objects").click()
        page.wait_for_timeout(1000)
        page.mouse.move(2, 2)
        wait_for(page, "viewer.isReady()")
        page.wait_for_timeout(1000)
        picture = page.screenshot()
        browser.close()
    return picture


def main(url: str) -> None:
    """Write the picture, no larger than a page of the README should load."""
    segment(f"{url}/api/v1")
    picture = Image.open(io.BytesIO(take(url))).convert("RGB")
    # Nobody sees the last bits of noise, of which a PNG would mostly be made.
    ImageOps.posterize(picture, 6).save(TARGET, optimize=True)
    size = TARGET.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(f"{TARGET} has {size} bytes; at most {LARGEST_BYTES} are wanted.")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
