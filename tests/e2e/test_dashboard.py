"""``task=report``, and its pages in a real browser: loaded from disk, used by mouse and keyboard, without network."""

import json
import os
import shutil
import signal

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from ..commands import command, end, start, wait_for
from ..report.folders import HOSTILE, HOSTILE_END, change, folders, other_run, record

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
F1 = "validation.macro_f1"


@pytest.fixture(scope="module")
def report(tiny_run, tmp_path_factory):
    """Return (folder of the report, how the command ended) over ten run folders and four that are none."""
    cwd = tmp_path_factory.mktemp("dashboard")
    folders(tiny_run[0], cwd / "outputs")
    ended = command("task=report", "evaluation.resamples=100", cwd=cwd)
    assert ended.code == 0, ended.err
    return cwd / "outputs" / "report", ended


@pytest.fixture(scope="module")
def browser():
    """Return a headless Chromium; without one the tests are skipped on a person's machine and fail in CI."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        said = "chromium and chromedriver are needed (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    driver.set_script_timeout(600)
    yield driver
    driver.quit()


@pytest.fixture
def index(browser, report):
    """Open the leaderboard, wide and light."""
    return opened(browser, report[0] / "index.html")


def opened(browser, page, width=1400, theme="light", mark=""):
    """Open a page as a file, for the first time (nothing is kept from before)."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get("about:blank")
    browser.get(page.as_uri() + mark)
    if browser.execute_script("try { localStorage.clear() } catch {} return document.documentElement.dataset.theme"):
        browser.refresh()
    return browser


def run_page(browser, report, name="smote"):
    """Follow the link of a run from the leaderboard."""
    opened(browser, report[0] / "index.html")
    browser.find_element(By.CSS_SELECTOR, f"tbody.runs a[href*='runs/{name}-1-']").click()
    drawn = """
        const plots = [...document.querySelectorAll(".plot")];
        const whole = document.readyState === "complete" && plots.length;
        return whole && plots.every((each) => each.querySelector(".main-svg"));
    """
    wait_until(browser, lambda page: page.execute_script(drawn))
    return browser


def wait_until(browser, happened):
    """Wait until ``happened(browser)`` is true: some of what a click asks for is done after it."""
    WebDriverWait(browser, 240, poll_frequency=0.05).until(happened)


def visible_rows(browser, letter="A"):
    """Return the rows of a table that can be seen, baselines apart."""
    table = f"table.board[data-letter={letter}] tbody:is(.runs, .experiments):not([hidden]) tr:not([hidden])"
    return browser.find_elements(By.CSS_SELECTOR, table)


def values(browser, key=F1, letter="A"):
    """Return what the visible rows are sorted by, from top to bottom."""
    return [json.loads(row.get_attribute("data-v"))[key] for row in visible_rows(browser, letter)]


def header(browser, key, letter="A"):
    """Return the head of a column."""
    return browser.find_element(By.CSS_SELECTOR, f"table.board[data-letter={letter}] th[data-sort='{key}']")


def refuse_noise(browser):
    """Assert that nothing was written to the console and that nothing but local files was asked for."""
    assert browser.get_log("browser") == []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            assert message["params"]["request"]["url"].startswith(("file:", "data:", "about:")), message


def test_the_command_says_what_was_written_and_left_out_and_makes_no_run_folder(report):
    folder, ended = report
    assert (
        "8 runs with figures in 2 test sets, 1 without figures" in ended.words
        and "4 folders were left out" in ended.words
    )
    assert "LEAKY SPLIT" in ended.words and str(folder.relative_to(folder.parents[1]) / "index.html") in ended.words
    assert ended.err == ""
    assert {path.name for path in folder.parent.iterdir()} == {"train", "report"}
    assert {path.name for path in folder.iterdir()} == {
        *("index.html", "leaderboard.csv", "leaderboard.md", "runs", "assets", "figures")
    }
    assert len(list((folder / "runs").iterdir())) == 9


def test_an_up_to_date_report_is_made_quickly_and_nothing_is_lost_when_a_run_is_deleted(report, tiny_run, tmp_path):
    other_run(tiny_run[0], tmp_path / "outputs" / "train" / "a", 0)
    other_run(tiny_run[0], tmp_path / "outputs" / "train" / "b", 0.01, seed=2)
    arguments = ("task=report", "report.figures=none", "report.compare=0", "evaluation.resamples=100")
    assert command(*arguments, cwd=tmp_path).code == 0
    pages = tmp_path / "outputs" / "report" / "runs"
    before = {path: path.stat().st_mtime_ns for path in pages.iterdir()}
    shutil.rmtree(tmp_path / "outputs" / "train" / "b")
    ended = command(*arguments, cwd=tmp_path)
    assert "1 run with figures" in ended.words
    assert {path: path.stat().st_mtime_ns for path in pages.iterdir()} == before


def test_watching_follows_a_sweep_until_ctrl_c(tiny_run, tmp_path):
    runs = tmp_path / "outputs" / "train"
    other_run(tiny_run[0], runs / "a", 0)
    index = tmp_path / "outputs" / "report" / "index.html"
    quick = (
        "report.figures=none",
        "report.pages=0",
        "report.compare=0",
        "report.watch=true",
        "report.watch_seconds=0.2",
    )
    watching = start("task=report", *quick, cwd=tmp_path)
    wait_for(lambda: index.exists() and "1 with figures" in index.read_text(), watching)
    other_run(tiny_run[0], tmp_path / "b", 0.01, seed=2).rename(runs / "b")
    wait_for(lambda: "2 with figures" in index.read_text(), watching)
    os.killpg(watching.pid, signal.SIGINT)
    ended = end(watching)
    assert ended.code == 0 and ended.err == "" and "stopped watching" in ended.out


def test_it_loads_from_disk_without_a_word_on_the_console_or_a_request_to_the_network(index):
    assert "8 with figures in 2 test sets" in index.find_element(By.TAG_NAME, "h1").text
    assert len(visible_rows(index, "A")) == 7 and len(visible_rows(index, "B")) == 1
    refuse_noise(index)


def test_a_script_that_got_in_could_not_reach_the_network(index):
    asked = """
        const done = arguments[arguments.length - 1], blocked = [], wanted = arguments[0], until = Date.now() + 60000;
        document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
        const image = new Image(); image.src = "https://example.invalid/x.png";
        fetch("https://example.invalid/").catch(() => {});
        document.body.insertAdjacentHTML("beforeend", "<div onclick='1' id='x'></div>");
        const script = document.createElement("script");
        script.textContent = "window.taken = 1";
        document.body.append(script);
        const told = () => Date.now() > until || wanted.every((each) => blocked.includes(each));
        const look = () => told() ? done([blocked.sort(), window.taken]) : setTimeout(look, 50);
        setTimeout(look, 200);
    """
    wanted = ["img-src", "connect-src", "script-src-elem"]
    blocked, taken = index.execute_async_script(asked, wanted)
    assert set(wanted) <= set(blocked) and taken is None
    index.get_log("browser")  # it says that these were refused


def test_different_test_sets_and_stamps_cannot_be_overlooked(index):
    stamps = [item.text for item in index.find_elements(By.CSS_SELECTOR, "p.stamp") if item.is_displayed()]
    assert any("2 different test sets" in text for text in stamps)
    assert any("LEAKY SPLIT (sample): do not believe these scores" in text for text in stamps)
    assert "LEAKY" in visible_rows(index, "B")[0].find_element(By.CSS_SELECTOR, "th .badge").text


def test_what_was_left_out_is_listed_with_the_reason(index):
    told = index.find_element(By.CSS_SELECTOR, "section[aria-labelledby=left-out]").text
    for words in ("train/foreign it has no result.json", "train/cut result.json cannot be read"):
        assert words in told
    assert "interrupted" in index.find_element(By.CSS_SELECTOR, "section[aria-labelledby=unfinished]").text


def test_sorting_by_any_column_up_and_down_is_told_to_screen_readers(index):
    assert values(index) == sorted(values(index), reverse=True)
    assert header(index, F1).get_attribute("aria-sort") == "descending"
    for key in ("test_family.top1", "test_material.balanced_accuracy"):
        header(index, key).find_element(By.TAG_NAME, "button").click()
        assert values(index, key) == sorted(values(index, key), reverse=True)
        assert header(index, key).get_attribute("aria-sort") == "descending"
        assert header(index, F1).get_attribute("aria-sort") is None
    header(index, key).find_element(By.TAG_NAME, "button").click()
    assert values(index, key) == sorted(values(index, key))
    assert header(index, key).get_attribute("aria-sort") == "ascending"
    header(index, "name").find_element(By.TAG_NAME, "button").click()
    assert values(index, "name") == sorted(values(index, "name"))
    refuse_noise(index)


def test_search_and_choices_filter_and_the_number_left_is_said(index):
    count = index.find_element(By.ID, "count")
    assert count.text == "8 runs" and count.get_attribute("aria-live") == "polite"
    search = index.find_element(By.ID, "q")
    search.send_keys("random_over")
    assert set(values(index, "name")) == {"random_over"} and count.text == "2 of 8 runs"
    assert index.find_elements(By.CSS_SELECTOR, "p.empty")[1].is_displayed(), "test set B says that none is left"
    search.clear()
    search.send_keys(" ")
    Select(index.find_element(By.CSS_SELECTOR, "select[data-key=sampler]")).select_by_visible_text("smote")
    Select(index.find_element(By.CSS_SELECTOR, "select[data-key=seed]")).select_by_visible_text("2")
    assert values(index, "name") == ["smote"] and count.text == "1 of 8 runs"
    index.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    wait_until(index, lambda page: len(visible_rows(page)) == 7)
    refuse_noise(index)


def test_seeds_are_grouped_with_mean_and_spread(index):
    index.find_element(By.ID, "group").click()
    assert sorted(values(index, "name")) == sorted([HOSTILE, "none", "random_over", "smote"])
    row = next(row for row in visible_rows(index) if row.find_element(By.TAG_NAME, "th").text.startswith("smote"))
    links = [link.get_attribute("textContent") for link in row.find_elements(By.TAG_NAME, "a")]
    assert links == ["smote, seed 1", "smote, seed 2"] and "2 seeds" in row.text and "±" in row.text
    assert len(row.find_elements(By.CSS_SELECTOR, "td.f:nth-of-type(4) .ib s")) == 2, "a dot for each seed"
    assert index.find_element(By.ID, "count").text == "5 experiments"


def test_paired_comparisons_say_when_no_difference_is_shown(index):
    said = {row.find_element(By.CSS_SELECTOR, ".verdict").text for row in visible_rows(index)}
    assert "the best on validation" in said and len(said) >= 2


def test_what_was_asked_for_stands_in_the_address(browser, report):
    opened(browser, report[0] / "index.html", mark="#q=smote&group=1&sort=test_family.top1:up")
    assert values(browser, "name") == ["smote"] and browser.find_element(By.ID, "group").is_selected()
    assert header(browser, "test_family.top1").get_attribute("aria-sort") == "ascending"
    browser.find_element(By.ID, "q").send_keys("x")
    wait_until(browser, lambda page: "q=smotex" in page.current_url)


def test_everything_can_be_reached_and_done_with_the_keyboard(index):
    def press(*keys):
        webdriver.ActionChains(index).send_keys(*keys).perform()
        return index.switch_to.active_element

    skip = press(Keys.TAB)
    assert skip.text == "Skip to the content" and skip.rect["x"] >= 0, "the skip link comes first, and into view"
    press(Keys.ENTER)
    wait_until(index, lambda page: page.switch_to.active_element.get_attribute("id") == "main")
    seen = []
    for _ in range(40):
        focused = press(Keys.TAB)
        seen.append(focused)
        if focused.tag_name == "button" and "test_family top-5" in focused.get_attribute("textContent"):
            break
    assert "q" in [item.get_attribute("id") for item in seen]
    outline = index.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused)
    assert outline == "solid", "focus is seen"
    press(Keys.ENTER)
    assert header(index, "test_family.top5").get_attribute("aria-sort") == "descending"
    assert values(index, "test_family.top5") == sorted(values(index, "test_family.top5"), reverse=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_the_systems_until_another_is_chosen(browser, report, theme):
    opened(browser, report[0] / "index.html", theme=theme)

    def paper():
        channels = browser.execute_script("return getComputedStyle(document.body).backgroundColor").strip("rgb()")
        return "dark" if sum(map(int, channels.split(","))) < 300 else "light"

    other = {"light": "dark", "dark": "light"}[theme]
    button = browser.find_element(By.ID, "theme")
    assert paper() == theme and button.get_attribute("aria-label") == f"Use the {other} theme"
    button.click()
    assert paper() == other
    browser.refresh()
    assert paper() == other, "the choice is kept"
    browser.execute_script("localStorage.clear()")


def test_figures_take_the_colours_of_the_theme(browser, report):
    run_page(browser, report)
    colour = "return getComputedStyle(document.querySelector('#plot-loss .xtick text')).fill"
    before = browser.execute_script(colour)
    browser.find_element(By.ID, "theme").click()
    wait_until(browser, lambda page: page.execute_script(colour) != before)
    browser.find_element(By.ID, "theme").click()
    wait_until(browser, lambda page: page.execute_script(colour) == before)
    assert browser.execute_script(colour).startswith("rgb"), "a colour, not what an element without one has"
    browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("page", ["index", "run"])
def test_a_phone_needs_no_sideways_scrolling_of_the_page(browser, report, page):
    if page == "run":
        run_page(browser, report)
        path = next((report[0] / "runs").glob("smote-1-*"))
    else:
        path = report[0] / "index.html"
    opened(browser, path, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_a_runs_page_draws_all_figures_and_asks_for_local_files_only(browser, report):
    run_page(browser, report)
    plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
    assert len(plots) == 7 and all(plot.find_elements(By.CSS_SELECTOR, ".main-svg") for plot in plots)
    assert all(plot.get_attribute("aria-label") for plot in plots)
    shown = browser.find_elements(By.CSS_SELECTOR, ".gallery img")
    assert shown and all(image.get_attribute("alt") for image in shown)
    loaded = "return [...document.images].every((image) => image.loading === 'lazy' || image.naturalWidth > 0)"
    assert browser.execute_script(loaded)
    refuse_noise(browser)


def test_the_confusion_can_be_looked_into_down_to_the_group_and_back(browser, report):
    run_page(browser, report)
    folder = report[0].parent / "train" / "smote-1"
    samples = record(folder)["counts"]["test_family"]["samples"]

    def cells():
        found = browser.find_elements(By.CSS_SELECTOR, "table.confusion td")
        return sum(int(cell.text) for cell in found if cell.text.isdigit())

    def level():
        return browser.find_element(By.CSS_SELECTOR, "table.confusion thead th").text

    assert level() == "true crystal system" and cells() == samples
    levels = [level()]
    while buttons := browser.find_elements(By.CSS_SELECTOR, "table.confusion th button"):
        inside = int(browser.find_element(By.CSS_SELECTOR, "table.confusion th small").text.split(", ")[-2].split()[0])
        buttons[0].send_keys(Keys.ENTER)
        assert cells() == inside, "a class's samples are all there one level down"
        levels.append(level())
    assert levels[-1] == "true space group"
    assert browser.switch_to.active_element.tag_name == "button", "the keyboard is still in the table"
    browser.find_element(By.CSS_SELECTOR, ".crumbs button").send_keys(Keys.ENTER)
    assert level() == "true crystal system"
    browser.find_element(By.CSS_SELECTOR, "input[name=part][value=validation]").send_keys(Keys.SPACE)
    assert cells() == record(folder)["counts"]["validation"]["samples"]
    refuse_noise(browser)


def test_text_from_files_stays_text_in_the_browser(browser, report):
    index = opened(browser, report[0] / "index.html")
    assert any(HOSTILE in row.text for row in visible_rows(index))
    assert HOSTILE_END in index.find_element(By.TAG_NAME, "main").text
    index.find_element(By.PARTIAL_LINK_TEXT, HOSTILE[:8]).click()
    wait_until(browser, lambda page: page.find_elements(By.CSS_SELECTOR, "#plot-classes .main-svg"))
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h1").text
    assert HOSTILE in browser.find_element(By.CSS_SELECTOR, "section[aria-labelledby=notes]").text
    captions = browser.find_element(By.CSS_SELECTOR, ".gallery").text
    assert HOSTILE_END in captions and HOSTILE in captions
    assert browser.title != "taken" and not browser.find_elements(By.CSS_SELECTOR, "img[src=x]")
    refuse_noise(browser)


@pytest.mark.parametrize("page", ["index.html", "runs/smote-1-*.html", "runs/running-*.html"])
def test_axe_finds_nothing_to_object_to(browser, report, page):
    (path,) = report[0].glob(page)
    opened(browser, path)
    # the inside of plotly's figures is plotly's; long lists of numbers take axe a minute and repeat one pattern
    result = Axe().run(browser, {"exclude": [[".plot"], ["details"], [".gallery li:nth-child(n + 3)"]]})
    assert [(item["id"], item["nodes"][0]["html"]) for item in result["violations"]] == []


def test_a_run_that_has_just_begun_has_a_page_too(browser, report, tiny_run, tmp_path):
    folder = tmp_path / "outputs" / "train" / "begun"
    folder.mkdir(parents=True)
    shutil.copy(tiny_run[0] / "result.json", folder)
    kept = {key: record(folder)[key] for key in ("schema_version", "task", "name", "seed", "config")}
    (folder / "result.json").write_text("{}")
    (folder / "result.json").write_text(json.dumps(kept | {"status": "interrupted"}))
    change(folder, name="begun")
    assert command("task=report", cwd=tmp_path).code == 0
    opened(browser, next((tmp_path / "outputs" / "report" / "runs").iterdir()))
    assert "begun" in browser.find_element(By.TAG_NAME, "h1").text
    refuse_noise(browser)
