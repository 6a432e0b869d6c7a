"""The live page in a real headless Chromium: it says what /status says, and loads nothing from elsewhere."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from process.runner import Supervised, settings, supervised

pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """The page opened, with what it asked for and complained about."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:  # noqa: ANN401 - playwright's own
        self.page: Page = browser.new_page(**options)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("console", self._complained)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url + "/")

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _complained(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def rested(status: dict[str, Any]) -> bool:
    partitions = status["partitions"]
    # Each worker stops after 50 batches of 1,000; what it then has in flight stays.
    return bool(partitions) and all(partition["committed"] == 50_000 for partition in partitions)


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def rested_shipper(tmp_path: Path) -> Any:  # noqa: ANN401 - a context manager
    return supervised(tmp_path, kafka={"does": "rest"})


def test_the_page_says_what_status_says(tmp_path: Path, browser: Browser) -> None:
    with rested_shipper(tmp_path) as shipper:
        visit = Visit(browser, shipper.url, viewport={"width": 1280, "height": 900})
        status = shipper.wait_for(rested)
        page = visit.page
        totals = status["totals"]

        expect(page.locator("#delivered")).to_have_text(f"{totals['delivered']:,}")
        expect(page.locator("#in-flight")).to_have_text(f"{totals['in_flight']:,}")
        expect(page.locator("#dead-letters")).to_have_text(f"{totals['dead_lettered']:,}")
        lag = sum(partition["lag_records"] for partition in status["partitions"])
        expect(page.locator("#lag")).to_have_text(f"{lag:,}")
        for name in ("consumed", "delivered", "filtered", "dead_lettered", "in_flight"):
            expect(page.locator(f"#term-{name} b")).to_have_text(f"{totals[name]:,}")
        expect(page.locator("#verdict")).to_have_text("✓ adds up")
        expect(page.locator("#state")).to_have_text("● running")
        expect(page.locator("#version")).to_have_text(status["version"])
        rows = page.locator("#partitions tbody tr")
        expect(rows).to_have_count(4)
        for index, partition in enumerate(status["partitions"]):
            cells = rows.nth(index).locator("td").all_text_contents()
            assert cells[0] == f"{partition['topic']} / {partition['partition']}"
            assert [number(cell) for cell in cells[1:5]] == [
                partition["worker"],
                partition["committed"],
                partition["high_watermark"],
                partition["lag_records"],
            ]
        pids = [cells.split("\n") for cells in page.locator("#workers tbody tr td:nth-child(3)").all_text_contents()]
        assert [int(pid) for (pid,) in pids] == [worker["pid"] for worker in status["workers"]]

        assert visit.complaints == []
        assert {url.removeprefix(shipper.url).partition("?")[0] for url in visit.requests} == {
            "/",
            "/page.css",
            "/page.js",
            "/chart.js",
            "/status",
            "/history",
        }
        page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")])
def test_lines_are_drawn_and_nothing_is_cut_off(tmp_path: Path, browser: Browser, width: int, scheme: str) -> None:
    with supervised(tmp_path) as shipper:
        visit = Visit(browser, shipper.url, viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = visit.page
        expect(page.locator("#rate-chart path.one").last).to_have_attribute(
            "d", re.compile(r"(L.*){3}"), timeout=20_000
        )
        expect(page.locator("#lag-chart path.three").last).to_have_attribute("d", re.compile(r"(L.*){3}"))
        expect(page.locator(".empty").first).to_be_hidden()
        page.locator("#rate-chart").hover()
        expect(page.locator("#rate-chart .tip")).to_contain_text("delivered:")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.screenshot(path=tmp_path / f"page-{width}-{scheme}.png", full_page=True)
        assert visit.complaints == []
        page.close()


def test_what_is_wrong_is_shown_and_as_text(tmp_path: Path, browser: Browser) -> None:
    options = settings(tmp_path, does="loki down", retention_s=-1)
    options["canary"] = {"every_s": 1}
    options["loki"]["limits"] = {"entry_age_max_s": 3_600}
    with supervised(tmp_path, settings=options) as shipper:
        visit = Visit(browser, shipper.url)
        expect(visit.page.locator("#loki-limit")).to_have_text("up to 8 pushes at once")
        canary = re.compile(r"^Canary: \d+ s old at logs / 1, 0\.5 s from Kafka to Loki; no <b>Loki</b>$")
        expect(visit.page.locator("#canary")).to_have_text(canary)
        # The fakes' oldest record was written 50 minutes ago; Loki takes an hour, and Kafka tells no retention.
        loss = visit.page.locator("#partitions tbody tr").first.locator("td.bad")
        expect(loss).to_have_text(re.compile(r"^\d min$"))
        said = shipper.line_with("will lose data in")
        assert said["level"] == "error"
        assert "Loki takes entries of up to 1 h" in said["message"]
        assert "only Loki's bound counts: Kafka at nowhere" in shipper.line_with("is not known")["message"]
        expect(visit.page.locator("#loki-error")).to_have_text("last error: connection refused <b>by Loki</b>")
        expect(visit.page.locator("#loki-state")).to_have_text("▲ retrying")
        expect(visit.page.locator("#state")).to_have_text("▲ degraded")
        assert visit.complaints == []
        visit.page.close()


def test_the_page_says_when_nobody_answers_any_more(tmp_path: Path, browser: Browser) -> None:
    with rested_shipper(tmp_path) as shipper:
        page = Visit(browser, shipper.url).page
        expect(page.locator("#state")).to_have_text("● running")
        expect(page.locator("#silence")).to_be_hidden()
        stop(shipper)
        expect(page.locator("#silence")).to_contain_text("shipper does not answer")
        expect(page.locator("#silence")).to_contain_text("What you see is from")
        page.close()


def stop(shipper: Supervised) -> None:
    shipper.send(signal.SIGTERM)
    assert shipper.exit_code() == 0
