"""A network that tells which process built it, and with what."""

import os
from pathlib import Path

from sgexp.learning.models.small import small_net


def net(width, n_classes):
    """Return the small network; leave a file named after the process's rank that holds the width."""
    folder = Path(os.environ["TELLING"])
    (folder / f"{Path(os.environ['SGEXP_RUN_FOLDER']).name}.rank{os.environ.get('LOCAL_RANK', '0')}").write_text(
        str(width)
    )
    return small_net(
        width=width, blocks=1, norm="group", dropout=0.0, patterns="shared", pool="features", n_classes=n_classes
    )
