"""Templates to whole pages: escaped, closed to the network, and with a mark that says what they were made from."""

from __future__ import annotations

import base64
import functools
import hashlib
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from sgexp import __version__
from sgexp.errors import ConfigError, DataError
from sgexp.runs import write_text

MARK = '<meta name="sgexp-inputs" content="'
_HEAD_BYTES = 1000  # the mark stands within them


@functools.cache
def environment() -> Environment:
    """Return the templates' environment: every value is escaped, an unknown name is an error."""
    made = Environment(loader=PackageLoader("sgexp.report"), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.globals["place"] = place
    return made


def place(value: float, most: float) -> str:
    """Return where a value stands on a scale from 0 to ``most``, for a style: ``12.3%``."""
    return f"{100 * min(max(value / most, 0.0), 1.0):.1f}%"


def asset(name: str) -> str:
    """Return the text of a file of the package's templates."""
    return resources.files("sgexp.report").joinpath("templates", name).read_text(encoding="utf-8")


@functools.cache
def style() -> str:
    """Return the style sheet, with the dark theme for those whose system asks for it and for those who choose it."""
    dark = asset("dark.css")
    both = (
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{\n{dark}}} }}\n"
        f":root[data-theme=dark] {{\n{dark}}}"
    )
    return asset("dashboard.css").replace("/*DARK*/", both)


@functools.cache
def templates_digest() -> str:
    """Return a hash of everything a page's form depends on."""
    names = sorted(item.name for item in resources.files("sgexp.report").joinpath("templates").iterdir())
    parts = [__version__, get_plotlyjs_version(), *(asset(name) for name in names if not name.startswith("_"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def render(template: str, script: str | None, inputs: str, **values: Any) -> str:
    """Return a page. ``script``: the template folder's file that runs in it, if any, after the theme's."""
    code = asset("theme.js") + (asset(script) if script is not None else "")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}' 'self' file:; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        environment()
        .get_template(template)
        .render(
            **values,
            inputs=inputs,
            policy=policy,
            style=Markup(style()),
            script=Markup(code),
            version=__version__,
            made=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        )
    )


def write_page(path: Path, text: str) -> None:
    """Write a page whole; what is no Unicode (a file's name may be anything) is written as its code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def inputs_of(path: Path) -> str | None:
    """Return what a page says it was made from; None if there is no page of ours."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    _, found, rest = head.partition(MARK)
    return rest.partition('"')[0] if found else None


def refuse_foreign(folder: Path) -> None:
    """Refuse to write over a page that is not ours."""
    index = folder / "index.html"
    if index.exists() and inputs_of(index) is None:
        raise ConfigError(f"report.folder={folder} holds an index.html that sgexp did not write: give another folder")


def place_plotly(folder: Path) -> str:
    """Put plotly's script beside the pages, once for each version; return its path from there."""
    name = f"assets/plotly-{get_plotlyjs_version()}.min.js"
    path = folder / name
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder} cannot be written ({error.strerror}): give another report.folder") from None
        write_text(path, get_plotlyjs())
        for old in path.parent.glob("plotly-*.min.js"):
            if old != path:
                old.unlink()
    return name
