"""The first complete view, and a fresh one after a jump, of a far pyramid of 2048 voxels a side.

Our page, which reads the source itself, and again through our server, beside the bare Neuroglancer
client of the same release (its own Python server) on the same source, in turn, in the same run.
Targets: at most 1.2 times the bare client's time; at most one more request per chunk, none for
chunks that are not in view. Not in the default run.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import neuroglancer
import psutil
import pytest
from far_pyramid import BUCKET, EDGE, GROUP, SIDE, far_pyramid
from playwright.sync_api import Browser, Request, sync_playwright

CHROMIUM_FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
]  # fmt: skip
ROUNDS = int(os.environ.get("TIME_TO_VIEW_ROUNDS", "5"))
PANEL_PX = 320
"""Our panel, beside the viewer: the bare client's window is narrower by it."""
PLACES = [(300, 700, 1500), (1500, 400, 600), (900, 1700, 1000)]

WATCH = """
// Every chunk of the image that a section shows is on the graphics card.
function isImageDrawn() {
    const image = window.viewer?.layerManager?.getLayerByName("em")?.layer;
    const layers = new Set(image?.renderLayers ?? []);
    const panels = [...(window.viewer?.display.panels ?? [])];
    const views = panels.map((one) => one.sliceView).filter(Boolean);
    if (layers.size === 0 || views.length === 0) return false;
    let isDrawn = true, count = 0;
    for (const view of views) {
        for (const [layer, { visibleSources }] of view.visibleLayers) {
            if (!layers.has(layer)) continue;
            for (const visible of visibleSources) {
                view.forEachVisibleChunk(visible, visible.chunkLayout, (key) => {
                    count += 1;
                    if (visible.source.chunks.get(key)?.state !== 0) isDrawn = false;
                });
            }
        }
    }
    return isDrawn && count > 0;
}
async function drawn(begin) {
    while (!isImageDrawn()) await new Promise((resolve) => setTimeout(resolve, 15));
    const image = performance.now() - begin;
    while (!viewer.isReady()) await new Promise((resolve) => setTimeout(resolve, 15));
    return [image, performance.now() - begin];
}
window.drawn = drawn;
drawn(0).then((times) => { window.firstView = times; });
"""
JUMP = """async ([x, y, z]) => {
    const begin = performance.now();
    viewer.state.restoreState({ position: [x, y, z], crossSectionScale: 1 });
    // Before its panels have the new place, the old view would be taken for the new one.
    const isThere = () => [...viewer.display.panels].every(({ sliceView }) => {
        const at = sliceView?.projectionParameters.value.globalPosition ?? [x, y, z];
        return Math.hypot(at[0] - x, at[1] - y, at[2] - z) < 1;
    });
    while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return drawn(begin);
}"""


@pytest.fixture(scope="module")
def source() -> Iterator[str]:
    with far_pyramid() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def ours(source: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("view")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "serve", "--no-browser", "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--data-dir", str(folder)],
        env={**os.environ, "AWS_ENDPOINT_URL": source},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Mitoglance is ready"), line
        url = f"http://127.0.0.1:{port}"
        body = {"name": "em", "image": f"s3://{BUCKET}/{GROUP}"}
        request = urllib.request.Request(
            f"{url}/api/v1/volumes", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=120).close()
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def bare(source: str, ours: str) -> Iterator[Callable[[], str]]:
    """Opens the bare client with the state that our page has at first, without labels.

    Each time for a newcomer: its server keeps where the last page was, so that the next one would
    begin at the place it is to jump to, and that jump take no time.
    """
    with urllib.request.urlopen(f"{ours}/d/em", timeout=60) as answer:
        token = answer.url.rstrip("/").rsplit("/", 1)[1]
    with urllib.request.urlopen(f"{ours}/api/v1/sessions/{token}", timeout=60) as answer:
        state = json.load(answer)["view_state"]
    image = state["layers"][0]
    image["source"] = f"zarr2://{source}/{BUCKET}/{GROUP}"
    neuroglancer.set_server_bind_address("127.0.0.1")
    viewers: list[neuroglancer.Viewer] = []

    def address() -> str:
        viewers.append(neuroglancer.Viewer())
        viewers[-1].set_state({**state, "layers": [image]})
        return str(viewers[-1].get_viewer_url())

    yield address
    neuroglancer.server.stop()


def settle() -> None:
    """Wait until the machine rests: what a page left unfinished would be paid by the next one."""
    end = time.monotonic() + 30
    while psutil.cpu_percent(0.5) > 10 and time.monotonic() < end:
        pass


def look(
    browser: Browser,
    url: str,
    width: int,
    script: str,
    source: str,
    places: Sequence[tuple[float, float, float]] = (),
) -> dict[str, Any]:
    """Return the times of a newcomer's views (ms) and the chunks that were asked for.

    Each time is a pair: until the image is drawn, and until everything is (our labels, too).
    """
    context = browser.new_context(viewport={"width": width, "height": 720}, bypass_csp=True)
    page = context.new_page()
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.url.startswith(source) and re.search(r"/\d+/\d+/\d+$", request.url):
            asked.append(request.url.removeprefix(source))

    context.on("request", note)
    page.add_init_script(script + WATCH)
    page.goto(url)
    while not page.evaluate("window.firstView"):
        page.wait_for_timeout(50)
    first = page.evaluate("window.firstView")
    at_first = list(asked)
    jumps = [page.evaluate(JUMP, list(place)) for place in places]
    context.close()
    return {"first": first, "jumps": jumps, "asked": asked, "at_first": at_first}


@pytest.mark.timeout(1800)
def test_time_to_view(source: str, ours: str, bare: Callable[[], str], benchmark: Any) -> None:
    through = f"localStorage.setItem('mitoglance-through-server', {10**14});"
    kinds = {
        "bare": (bare, 1100 - PANEL_PX, ""),
        "direct": (lambda: f"{ours}/d/em", 1100, ""),
        "server": (lambda: f"{ours}/d/em", 1100, through),
    }
    seen: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with sync_playwright() as playwright:
        print(f"ready at load {psutil.getloadavg()[0]:.1f}", flush=True)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS
        )

        def one_round() -> None:
            # Single first views scatter by a fifth: several for each look that goes on.
            for places in ((), (), (), PLACES):
                for kind, (address, width, script) in kinds.items():
                    settle()
                    seen[kind].append(look(browser, address(), width, script, source, places))
                    times = seen[kind][-1]
                    print(kind, times["first"], times["jumps"], flush=True)

        benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)
        browser.close()
    report: dict[str, Any] = {"load": psutil.getloadavg()[0], "shape": SIDE, "voxel_nm": EDGE}
    for kind, looks in seen.items():
        looks = looks[4:]  # without the round that warms up
        firsts = [one["first"] for one in looks]
        jumps = [jump for one in looks for jump in one["jumps"]]
        jumped = [one["asked"] for one in looks if one["jumps"]]
        report[kind] = {
            "first": round(statistics.median(image for image, _ in firsts)),
            "jump": round(statistics.median(image for image, _ in jumps)),
            "first_with_labels": round(statistics.median(all_ for _, all_ in firsts)),
            "jump_with_labels": round(statistics.median(all_ for _, all_ in jumps)),
            "chunks": [len(set(asked)) for asked in jumped],
            # Those given up when the view moved on, and wanted again, count each time.
            "most_requests_per_chunk": [
                max(Counter(asked).values(), default=0) for asked in jumped
            ],
            "requests_per_chunk": [
                round(len(asked) / max(len(set(asked)), 1), 2) for asked in jumped
            ],
        }
    of_bare = {path for one in seen["bare"] for path in one["asked"]}
    of_ours = {path for one in seen["direct"] for path in one["asked"]}
    report["chunks_only_ours"] = len(of_ours - of_bare)
    report["chunks_only_bare"] = len(of_bare - of_ours)
    for kind in ("direct", "server"):
        for view in ("first", "jump"):
            report[f"{kind}_{view}_ratio"] = round(report[kind][view] / report["bare"][view], 2)
            all_ = report[kind][f"{view}_with_labels"] / report["bare"][view]
            report[f"{kind}_{view}_with_labels_ratio"] = round(all_, 2)
    benchmark.extra_info.update(report)
    print(json.dumps(report, indent=1))
    out = os.environ.get("TIME_TO_VIEW_OUT")
    if out:
        Path(out).write_text(json.dumps({"report": report, "seen": seen}))
