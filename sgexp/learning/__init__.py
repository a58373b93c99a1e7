"""Networks and how they are trained: models, losses, optimizers, the Lightning module, callbacks and checkpoints."""
