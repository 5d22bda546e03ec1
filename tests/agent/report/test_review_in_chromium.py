"""The review in a real browser: it opens, sorts, unfolds, works by keyboard, and follows a campaign that goes on."""

import shutil
import threading

import pytest

from agent.campaign.record import Record
from agent.report.review.serve import make_server

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium with chromedriver (on Debian: apt install chromium chromium-driver)",
)

QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(campaign, tmp_path_factory):
    copy = tmp_path_factory.mktemp("shown") / campaign[0].name
    shutil.copytree(campaign[0], copy, symlinks=True)
    return copy


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def names(browser):
    return [cell.text for cell in find(browser, "#runs tbody th")]


def test_from_disk_it_opens_without_an_error_and_shows_the_runs(browser, folder):
    browser.get((folder / "report.html").as_uri())
    runs = Record.open(folder).state.runs
    assert names(browser)[2:] == [f"run_{run.number}" for run in runs]
    assert browser.get_log("browser") == []
    assert all(image.get_property("naturalWidth") > 100 for image in find(browser, ".picture img"))


def test_a_click_sorts_by_number_both_ways(browser, folder):
    browser.get((folder / "report.html").as_uri())
    scores = "#runs tbody tr td:nth-of-type(2)"
    button = next(each for each in find(browser, "#runs thead button") if each.text.startswith("explained_variance"))
    button.click()
    rising = [float(cell.get_attribute("data-order")) for cell in find(browser, scores)]
    button.click()
    falling = [float(cell.get_attribute("data-order")) for cell in find(browser, scores)]
    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)
    assert button.find_element("xpath", "./..").get_attribute("aria-sort") == "descending"


def test_the_keyboard_goes_through_runs_and_opens_their_diffs(browser, folder):
    browser.get((folder / "report.html").as_uri())
    body = browser.find_element("css selector", "body")
    body.send_keys("j")
    assert browser.switch_to.active_element.get_attribute("id") == "run_1"
    browser.switch_to.active_element.send_keys("j")
    browser.switch_to.active_element.send_keys("o")
    assert browser.switch_to.active_element.get_attribute("id") == "run_2"
    assert browser.find_element("id", "diff_2").get_attribute("open")
    changed = find(browser, "#diff_2 tr.changed .new")
    assert changed
    assert changed[0].is_displayed()
    browser.switch_to.active_element.send_keys("k")
    assert browser.switch_to.active_element.get_attribute("id") == "run_1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1400])
def test_it_is_readable_in_both_schemes_and_at_a_phones_width(browser, folder, scheme, width):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get((folder / "report.html").as_uri())
        overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, "only tables may scroll sideways, not the page"
        colours = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
        assert contrast(*colours) > 7
        for tone in ("improved", "worse", "noise", "void"):
            colour = browser.execute_script(
                "const e = document.createElement('i'); e.className = arguments[0]; document.body.append(e);"
                "const c = getComputedStyle(e).color; e.remove(); return c",
                tone,
            )
            assert contrast(colour, colours[1]) > 4.5, tone
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_served_it_follows_the_campaign_and_keeps_what_is_open(browser, folder, tmp_path):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    growing = tmp_path / folder.name
    shutil.copytree(folder, growing, symlinks=True)
    lines = (growing / "ledger.jsonl").read_text().splitlines(keepends=True)
    scored = [number for number, line in enumerate(lines) if '"kind": "scored"' in line]
    (growing / "ledger.jsonl").write_text("".join(lines[: scored[1] + 1]))
    server = make_server(growing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.get(f"http://127.0.0.1:{server.server_address[1]}/")
        assert names(browser)[2:] == ["run_1", "run_2"]
        browser.execute_script("document.getElementById('diff_1').open = true")
        WebDriverWait(browser, 10).until(
            lambda found: found.find_element("css selector", "html").get_attribute("data-live") == "on"
        )
        with (growing / "ledger.jsonl").open("a") as ledger:
            ledger.writelines(lines[scored[1] + 1 : scored[2] + 1])
        # The page may take its new content in the middle of the question.
        patient = WebDriverWait(browser, 20, ignored_exceptions=[StaleElementReferenceException])
        patient.until(lambda found: "run_3" in names(found))
        assert browser.find_element("id", "diff_1").get_attribute("open")
        assert browser.get_log("browser") == []
    finally:
        server.shutdown()
        server.server_close()


def contrast(one, other):
    """The contrast ratio of two CSS colours (WCAG 2.1)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_script_that_slipped_into_the_page_does_not_run(browser, folder):
    """The page is escaped; this is the second lock."""
    page = folder / "slipped.html"
    evil = '<script>document.title = "owned"</script><img src=x onerror="document.title = \'owned\'"></main>'
    page.write_text((folder / "report.html").read_text().replace("</main>", evil))
    browser.get(page.as_uri())
    assert find(browser, "#runs tbody th")
    assert browser.title != "owned"
    refused = [
        entry["message"] for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]
    ]
    assert len(refused) >= 2
