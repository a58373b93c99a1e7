"""A job that fails."""

import hydra


@hydra.main(version_base=None, config_path=None)
def main(config):
    raise ValueError(f"seed {config.seed} fails")


if __name__ == "__main__":
    main()
