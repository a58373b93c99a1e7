"""Two jobs of a sweep that log to W&B, in one process, as Hydra's own launcher runs them."""

import hydra
from pytorch_lightning.loggers import WandbLogger


@hydra.main(version_base=None, config_path=None)
def main(config):
    logger = WandbLogger(project="naive", save_dir=".", offline=True)
    logger.log_metrics({"loss": float(config.seed)})
    print("\nSEED", config.seed, "RUN", logger.experiment.id, flush=True)


if __name__ == "__main__":
    main()
