"""``task=report`` shows searches: the numbers are Optuna's, a stranger's record is text, nothing asks a network."""

import json
import re

import optuna
import pytest

from sgexp.errors import UserError
from sgexp.report.search_page import find_searches, search_page
from sgexp.search.record import read

from ..commands import command


def study_of(searches):
    file = optuna.storages.journal.JournalFileBackend(str(searches.folder / "study.journal"))
    storage = optuna.storages.JournalStorage(file)
    return optuna.load_study(study_name=None, storage=storage)


def charts(page):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return {chart["key"]: chart for chart in json.loads(data)["charts"]}


def test_history_and_importance_are_optunas(searched):
    searches, _ = searched
    study = study_of(searches)
    shown = charts(search_page([read(searches.folder / "search.json")], [], "plotly.js"))
    points, best = shown["s0-history-0"]["data"]
    figure = optuna.visualization.plot_optimization_history(study)
    assert points["y"] == list(figure.data[0].y)
    assert best["y"] == list(figure.data[1].y)
    (bars,) = shown["s0-importance-0"]["data"]
    expected = optuna.importance.get_param_importances(study)
    assert dict(zip(bars["y"], bars["x"], strict=True)) == pytest.approx(expected)


def test_the_report_links_the_page_which_asks_nothing_of_a_network(searched):
    searches, _ = searched
    ended = command("task=report", "report.pages=0", "report.figures=none", cwd=searches.cwd, env=searches.env)
    assert ended.code == 0, ended.err
    folder = searches.cwd / "outputs" / "report"
    assert 'href="search.html"' in (folder / "index.html").read_text()
    page = (folder / "search.html").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    (script,) = re.findall(r'<script src="([^"]+)"', page)
    assert (folder / script).is_file()


def test_a_strangers_record_is_shown_as_text_or_left_out(searched, tmp_path):
    searches, _ = searched
    told = searches.record
    bad = "<img src=x onerror=alert(1)></script>"
    told["command"] = told["sampler"] = bad
    told["space"] = {bad: bad}
    told["importance"] = [{bad: 1.0}]
    told["trials"][0]["params"] = {bad: bad}
    names = {"ok": told, "cut": None, "values": told | {"objectives": [["a", "maximize"], ["b", "minimize"]]}}
    names |= {"goal": told | {"objectives": [[bad, "maximize"]]}, "nan": told | {"importance": [{"x": float("nan")}]}}
    for name, content in names.items():
        folder = tmp_path / "sweeps" / name
        folder.mkdir(parents=True)
        (folder / "search.json").write_text("{" if content is None else json.dumps(content))
    records, left_out = find_searches(tmp_path)
    assert len(records) == 1 and len(left_out) == 4
    page = search_page(records, left_out, "plotly.js")
    assert "<img" not in page and page.count("</script>") == 3
    with pytest.raises(UserError, match="cannot be read as the record of a search"):
        read(tmp_path / "sweeps" / "nan" / "search.json")
