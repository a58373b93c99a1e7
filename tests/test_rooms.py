"""The rooms stand in an order, and a room imports only what stands below it (docs/architecture.md)."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sgexp"

# Top first. A schema.py belongs to its room, but imports nothing except sgexp.schema.
ORDER = (
    "__main__",
    "searching",
    "jobs",
    "tasks",
    "run_config",
    "composition",
    "config_files",
    "config",
    "checking",
    "usage",
    "report",
    "learning",
    "loading",
    "simulation",
    "data",
    "sampling",
    "evaluation",
    "crystallography",
    "search",
    "sweeps",
    "requeue",
    "runs",
    "console",
    "schema",
    "ranks",
    "machine",
    "npz",
    "errors",
    "__init__",
)
WITHOUT_TORCH = (
    "crystallography",
    "sampling",
    "evaluation",
    "report",
    "config",
    "checking",
    "composition",
    "config_files",
    "usage",
    "searching",
    "jobs",
    "search",
    "sweeps",
    "requeue",
    "runs",
    "ranks",
    "machine",
    "schema",
)

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imports(path):
    """Yield the dotted names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "sgexp":
                yield from (f"sgexp.{alias.name}" for alias in node.names)
            else:
                yield node.module


def room_of(module):
    """Return the room of ``sgexp.room.module``; names that sgexp/__init__.py holds itself belong to ``__init__``."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() else "__init__"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_imports_only_what_stands_below_it(path):
    own = path.parts[0].removesuffix(".py")
    assert own in ORDER, f"{own} has no place in the order of the rooms"
    for module in imports(path):
        if module.split(".")[0] == "sgexp" and room_of(module) != own:
            assert ORDER.index(room_of(module)) > ORDER.index(own), f"{path} imports {module}, which stands above it"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "schema.py"], ids=str)
def test_a_schema_imports_nothing_but_the_words_of_schemas(path):
    for module in imports(path):
        assert module == "sgexp.schema" or module.split(".")[0] in sys.stdlib_module_names, f"{path} imports {module}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parts[0].removesuffix(".py") in WITHOUT_TORCH], ids=str
)
def test_a_light_room_does_not_import_torch(path):
    heavy = {"torch", "pytorch_lightning", "torchmetrics"}
    assert not heavy & {module.split(".")[0] for module in imports(path)}
