"""The command, with a log of its moments: which step, with what loss, whether it validates or writes a checkpoint.

``python logged_command.py LOG STOP ARGUMENT...``: STOP is empty, or a moment such as ``write:2``, the second of that
kind; there the process waits to be killed. Nothing in sgexp knows of this.
"""

import io
import os
import sys
import time

import pytorch_lightning as pl
import torch

from sgexp.__main__ import main
from sgexp.learning import trainer as trainers


class Moments(pl.Callback):
    """Logs a moment a line."""

    def __init__(self, path, stop):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        kind, _, number = stop.partition(":")
        self.kind, self.left = kind, int(number or 0)

    def at(self, kind, *words):
        """Log, and wait at the moment that was asked for."""
        os.write(self.file, (" ".join([kind, *map(str, words)]) + "\n").encode())
        if kind == self.kind:
            self.left -= 1
            if self.left == 0:
                os.write(self.file, f"stopped {kind}\n".encode())
                time.sleep(600)

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        self.at("batch", trainer.global_step, float(outputs["loss"]).hex())

    def on_validation_batch_start(self, *_):
        self.at("validation")


def watch(moments):
    """Add the moments of training, of half a checkpoint written, and of the old one renamed and the new one not."""
    callbacks, save, replace = trainers._callbacks, torch.save, os.replace

    def save_slowly(value, file, *arguments, **options):
        whole = io.BytesIO()
        save(value, whole, *arguments, **options)
        half = len(whole.getvalue()) // 2
        file.write(whole.getvalue()[:half])
        file.flush()
        moments.at("write", os.path.basename(file.name))
        file.write(whole.getvalue()[half:])

    def replace_slowly(source, target):
        if str(target).endswith("/last.ckpt"):
            moments.at("rename")
        replace(source, target)

    trainers._callbacks = lambda *arguments: [*callbacks(*arguments), moments]
    torch.save, os.replace = save_slowly, replace_slowly


if __name__ == "__main__":
    log, stop, *typed = sys.argv[1:]
    watch(Moments(log, stop))
    sys.exit(main(typed))
