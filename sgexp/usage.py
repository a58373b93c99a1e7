"""The command's words: its options, and the help that lists every config group. Standard library only, to be quick."""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sgexp import __version__
from sgexp.errors import ConfigError, did_you_mean

CONF_DIR = Path(__file__).resolve().parent / "conf"
if (
    not CONF_DIR.is_dir()
):  # a checkout or `pip install -e`: the folder beside the package, so that an edited file takes effect
    CONF_DIR = CONF_DIR.parents[1] / "conf"

FOR_OTHERS = "sweep"  # the folder of conf/ whose files other programs read: no config group

HEAD = """\
usage: python -m sgexp [group=choice ...] [key=value ...] [options]

Simulates electron diffraction patterns of crystals, trains a network to name their space group, says how well it does.
Without arguments: the default experiment, about five minutes on two cores.
"""

TAIL = """
Overrides
  sampler=smote                  another choice of a config group
  trainer.epochs=20              another value of a key (python -m sgexp --cfg job lists all keys and values)
  'simulation.energies_kev=[100,200]'  a list; quotes keep the shell from reading the brackets
  seed=1,2,3 -m                  a job for each value; with several such arguments, for each combination
  seed=1,2,3 -m launcher.jobs=2  two jobs at a time; the same command again skips what is finished and goes on
  'sampler=glob(*)' -m           a job for each choice; 'seed=range(1,6)' for each number

Options
  -h, --help                     this text
  --version                      the version of sgexp
  -m, --multirun                 run every combination of the values given; all are checked before the first starts
  -c, --cfg {job,hydra,all}      print the composed config instead of running it
  --resolve                      with --cfg: with interpolations filled in
  -p, --package KEY              with --cfg: only the part below KEY
  -cd, --config-dir DIR          a folder of config files of your own, looked into first (sampler/, experiment/ ...)
  -cn, --config-name NAME        start from NAME.yaml instead of config.yaml
  -i, --info [WHAT]              what Hydra knows: all, config, defaults, defaults-tree, plugins, searchpath

Examples
  python -m sgexp
  python -m sgexp sampler=smote model=resnet50
  python -m sgexp size=tiny trainer=debug
  python -m sgexp dataset=smc19 dataset.root=/data/smc19 split=released
  python -m sgexp -m sampler=none,smote seed=1,2,3
  python -m sgexp task=evaluate run=outputs/train/FOLDER
  python -m sgexp task=predict run=outputs/train/FOLDER input=my_patterns.tif
  python -m sgexp task=validate
"""


@dataclass
class Arguments:
    """What was typed after ``python -m sgexp``."""

    overrides: list[str] = field(default_factory=list)
    multirun: bool = False
    cfg: str | None = None
    info: str | None = None
    resolve: bool = False
    package: str | None = None
    config_dir: str | None = None
    config_name: str = "config"

    def config_options(self) -> list[str]:
        """Return the options that say where configs are found, as another process of the command needs them."""
        options = ["--config-dir", self.config_dir] if self.config_dir is not None else []
        return options + (["--config-name", self.config_name] if self.config_name != "config" else [])

    def for_hydra(self) -> list[str]:
        """Return the arguments in an order that Hydra's own parser accepts: options first, overrides together."""
        flags = ["--multirun"] if self.multirun else []
        flags += ["--resolve"] if self.resolve else []
        for option, value in (("--cfg", self.cfg), ("--package", self.package), ("--config-dir", self.config_dir)):
            flags += [option, value] if value is not None else []
        flags += ["--config-name", self.config_name] if self.config_name != "config" else []
        flags += [f"--info={self.info}"] if self.info is not None else []
        return [*flags, *self.overrides]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are sentences like all others of sgexp."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (python -m sgexp --help lists the options)")


def parse(argv: list[str]) -> Arguments:
    """Return the arguments typed; ``--help`` and ``--version`` are the caller's to answer first."""
    parser = _Parser(prog="python -m sgexp", add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"])
    parser.add_argument(
        "-i",
        "--info",
        nargs="?",
        const="all",
        choices=["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"],
    )
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-p", "--package")
    parser.add_argument("-cd", "--config-dir")
    parser.add_argument("-cn", "--config-name", default="config")
    known, rest = parser.parse_known_args(argv)
    overrides = [argument for argument in rest if argument != "--"]
    long_options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    for argument in overrides:
        if argument.startswith("-"):
            near = did_you_mean(argument.partition("=")[0], ["--help", "--version", *long_options])
            raise ConfigError(f"there is no option '{argument}'{near}")
    if known.resolve and known.cfg is None:
        raise ConfigError("--resolve prints a config with its interpolations filled in: give --cfg job too")
    if known.multirun and (known.cfg or known.info):
        raise ConfigError("--multirun runs jobs, --cfg and --info print: give one of them")
    return Arguments(overrides=overrides, **vars(known))


def help_text(argv: list[str]) -> str:
    """Return the whole help, with the choices of a ``--config-dir`` among ``argv`` too."""
    folders = [CONF_DIR]
    for flag, value in itertools.pairwise(argv):
        if flag in ("--config-dir", "-cd"):
            folders.append(Path(value))
    folders += [Path(argument.partition("=")[2]) for argument in argv if argument.startswith("--config-dir=")]
    return "\n".join([HEAD, "Config groups and their choices (* is the default)", *group_lines(folders)]) + "\n" + TAIL


def group_lines(folders: list[Path]) -> list[str]:
    """Return a line a config group, and below it a line a choice: its name and the first comment of its file."""
    choices: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            if group not in (".", FOR_OTHERS) and not group.startswith("hydra"):
                choices.setdefault(group, {})[path.stem] = path
    order, defaults = default_choices(folders[0] / "config.yaml")
    lines = []
    for group in sorted(choices, key=lambda name: (_place(name, order), name)):
        lines.append(f"  {group}")
        width = max(16, *map(len, choices[group]))
        for name, path in sorted(choices[group].items()):
            mark = "*" if defaults.get(group) == name else " "
            lines.append(f"  {mark} {name:<{width}} {description(path)}")
    return lines


def _place(group: str, order: list[str]) -> int:
    """Return the place of ``group`` in the defaults list; ``simulation/engine`` stands with ``simulation``."""
    top = group.partition("/")[0]
    return order.index(top) if top in order else len(order)


def default_choices(path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the groups in the order of the defaults list of ``path``, and the choice it makes of each."""
    order, defaults = [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = line.strip()
        if entry.startswith("- ") and ":" in entry and not entry.startswith("- override"):
            group, _, choice = entry[2:].partition(":")
            order.append(group.strip())
            defaults[group.strip()] = choice.strip()
    return order, defaults


def description(path: Path) -> str:
    """Return the first comment of a config file that is a sentence (``# @package`` is not)."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ").strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""


def version_text() -> str:
    """Return the name and version of the package."""
    return f"sgexp {__version__}"
