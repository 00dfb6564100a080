#!/usr/bin/env python3
"""Tests the page of experiments and the report in headless Chromium, and saves screenshots.

    cargo build --release
    pip install playwright        # and a Chromium: apt-get install chromium
    python benches/page/experiments.py [--screenshots DIR]

It replays 40 of the payments, lets clients ask for 12 more, and opens the page as a desktop and as a phone, in
light and in dark mode: no error in the console, no other origin, nothing that scrolls sideways, text with enough
contrast, and everything by the keyboard alone: the report, and a vote.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, expect, sync_playwright  # noqa: E402

import machine  # noqa: E402
from farthing_server import BINARY, FarthingServer  # noqa: E402
from run import CHROMIUM, CONTRAST, LOW_CONTRAST, SCHEMES, SIZES, WIDE, Checks, Watch  # noqa: E402

PAYMENTS = machine.PROJECT / "benches" / "gateway"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshots", type=pathlib.Path, default=machine.TARGET / "page")
    arguments = parser.parse_args()
    arguments.screenshots.mkdir(parents=True, exist_ok=True)
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        sys.exit("there is no Chromium: apt-get install chromium")
    checks = Checks()
    lines = (PAYMENTS / "payments.jsonl").read_text().splitlines()
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        (folder / "few.jsonl").write_text("\n".join(lines[:40]))
        ledger = folder / "ledger.sqlite3"
        flags = [f"--routes={PAYMENTS / 'payments.toml'}", f"--ledger={ledger}"]
        with sync_playwright() as playwright, FarthingServer(*flags) as server:
            origin = f"http://{server.address}"
            subprocess.run(
                [BINARY, "replay", folder / "few.jsonl", "--url", origin, "--route", "payments",
                 "--arms", "today,tuned"],
                check=True,
            )  # fmt: skip
            for line in lines[40:52]:
                server.chat({**json.loads(line), "model": "payments"})
            browser = playwright.chromium.launch(executable_path=executable)
            for size in SIZES:
                for scheme in SCHEMES:
                    look(browser, origin, size, scheme, arguments.screenshots, checks)
            report(browser, origin, arguments.screenshots, checks)
            browser.close()
    print(f"screenshots in {arguments.screenshots}")
    sys.exit(1 if checks.failed else 0)


def look(
    browser: Browser, origin: str, size: str, scheme: str, folder: pathlib.Path, checks: Checks
) -> None:
    print(f"{size}, {scheme}")
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", **SIZES[size])
    page = context.new_page()
    watch = Watch(page, origin)
    page.goto(f"{origin}/experiments")
    page.wait_for_selector("#votes:not([hidden])")
    page.screenshot(path=folder / f"experiments-{size}-{scheme}.png", full_page=True)
    text = page.locator("#text").inner_text()
    checks.that("the report", "Verdict:" in text and "$ per accepted answer" in text, text)
    width = SIZES[size]["viewport"]["width"]
    scrolls = page.evaluate("document.documentElement.scrollWidth") > width
    checks.that("nothing scrolls sideways", not scrolls)
    low = page.evaluate(LOW_CONTRAST, CONTRAST)
    checks.that("all text can be read", not low, low)
    reached = tab_to(page, "Left is better")
    checks.that("the keyboard reaches a vote", reached)
    before = page.locator("#left-over").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#vote-status")).to_have_text("Counted.")
    checks.that("a vote counts", page.locator("#left-over").inner_text() != before)
    checks.that("no error, no other origin", not watch.wrong, watch.wrong)
    context.close()


def tab_to(page, text: str) -> bool:
    page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == text:
            return True
    return False


def report(browser: Browser, origin: str, folder: pathlib.Path, checks: Checks) -> None:
    for size in SIZES:
        for scheme in SCHEMES:
            print(f"the report as a page: {size}, {scheme}")
            context = browser.new_context(color_scheme=scheme, **SIZES[size])
            page = context.new_page()
            watch = Watch(page, origin)
            page.goto(f"{origin}/v1/experiments/payments-1/report?format=html")
            page.screenshot(path=folder / f"report-{size}-{scheme}.png", full_page=True)
            width = SIZES[size]["viewport"]["width"]
            scrolls = page.evaluate("document.documentElement.scrollWidth") > width
            checks.that("nothing scrolls sideways", not scrolls)
            low = page.evaluate(LOW_CONTRAST, CONTRAST)
            checks.that("all text can be read", not low, low)
            checks.that("no error, no other origin", not watch.wrong, watch.wrong)
            context.close()


if __name__ == "__main__":
    main()
