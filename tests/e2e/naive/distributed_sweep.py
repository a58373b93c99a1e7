"""A sweep of distributed trainings as Hydra and Lightning show it; each rank says what it was started with."""

import os
import sys

import hydra
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Network(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        return self.layer(batch[0]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@hydra.main(version_base=None, config_path=None)
def main(config):
    print("\nRANK", os.environ.get("LOCAL_RANK", "0"), "SEED", config.seed, "ARGV", *sys.argv[1:], flush=True)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=1, **quiet)
    trainer.fit(Network(), DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=2))


if __name__ == "__main__":
    main()
