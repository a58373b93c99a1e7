"""The Lightning module: patterns to logits, a loss in training, and exact scores over the whole validation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sgexp.errors import DataError
from sgexp.evaluation.monitor import macro_f1, top_k
from sgexp.learning.auxiliary import Auxiliary
from sgexp.learning.gather import gather_by_row
from sgexp.learning.losses.base import Loss
from sgexp.learning.models.heads import FeatureTap
from sgexp.learning.models.second_answer import distributed, silent
from sgexp.learning.strategies import ShardingProcesses
from sgexp.loading.batches import Batch
from sgexp.loading.mixing import Mixed, Mixing

Augmentation = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""(patterns, labels, draws, epoch) -> (patterns, labels); ``sgexp.loading.augment.Augment`` is one."""
MakeOptimizer = Callable[[nn.Module, int], tuple[Optimizer, LRScheduler]]
"""(model, optimizer steps of the whole training) -> an optimizer and its schedule."""


class SpaceGroupModule(pl.LightningModule):
    """Trains a network to name a stack's class.

    Parameters
    ----------
    model : patterns (B, 3, p, p) -> logits (B, K).
    loss : (logits, labels) -> scalar; a ``Loss`` can do more.
    make_optimizer : called once training knows its number of steps.
    classes : space-group number of each class index, (K,); kept in the checkpoint.
    standardise : coded patterns -> network input, on any device.
    expose : changes to coded training patterns before that, as (patterns, draws, epoch) -> patterns, or None.
    augment : changes to standardised training patterns, or None.
    mixing : mixes training patterns with partners that come with the batch, or None; the loss must be a ``Loss``.
    auxiliary : what is asked beside the group, of the features that the last layer is given, or None.
    seed : with the step it decides what dropout drops.
    channels_last : keep pictures as NHWC in memory, which some devices prefer.
    hyperparameters : plain numbers and strings to keep in the checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        make_optimizer: MakeOptimizer,
        classes: Sequence[int] | NDArray[np.integer],
        *,
        standardise: Callable[[Tensor], Tensor],
        expose: Callable[[Tensor, Tensor, int], Tensor] | None = None,
        augment: Augmentation | None = None,
        mixing: Mixing | None = None,
        auxiliary: Auxiliary | None = None,
        seed: int = 0,
        channels_last: bool = False,
        hyperparameters: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> None:
        super().__init__()
        # Convolutions follow the layout of their kernels, so the input need not be rearranged here.
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=layout)  # type: ignore[call-overload]
        self.loss, self.make_optimizer, self.seed = loss, make_optimizer, seed
        self.standardise, self.augment, self.mixing, self.expose = standardise, augment, mixing, expose
        self.classes: Tensor
        self.register_buffer("classes", torch.as_tensor(np.asarray(classes, dtype=np.int64)))
        self.auxiliary, self.auxiliary_rests = auxiliary, False  # it rests where a stage keeps the features still
        # Not a buffer: DDP would overwrite the sums of all other ranks by those of the first one.
        self._train_sums = self._no_sums()
        self._tap: FeatureTap | None = None
        self.stage: int | None = None  # of a training in stages, the present one (``stages.StageSwitch``)
        self._evaluated: list[tuple[Tensor, Tensor, Tensor]] = []
        self.save_hyperparameters(dict(hyperparameters or {}))

    def forward(self, patterns_BCHW: Tensor) -> Tensor:
        """Return float32 logits (B, K) of coded patterns."""
        return self._logits(self.standardise(patterns_BCHW))

    def _logits(self, input_BCHW: Tensor) -> Tensor:
        return self.model(input_BCHW).float()

    def configure_model(self) -> None:
        """Share the weights out where the processes of the run are to hold a share each (Lightning calls it)."""
        strategy = self.trainer.strategy
        if isinstance(strategy, ShardingProcesses):
            self.model = strategy.share_out(self.model)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Build the optimizer; its schedule moves once an optimizer step."""
        steps = int(self.trainer.estimated_stepping_batches)
        trained = self.model if self.auxiliary is None else nn.ModuleList([self.model, self.auxiliary])
        optimizer, scheduler = self.make_optimizer(trained, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Keep the features that the last layer is given, where the loss or an auxiliary task asks for them."""
        if self.auxiliary is not None or getattr(self.loss, "needs_features", False):
            self._tap = FeatureTap(self.model)

    def on_predict_start(self) -> None:
        """Keep the features where there are auxiliary tasks."""
        if self.auxiliary is not None:
            self._tap = FeatureTap(self.model)

    def on_predict_end(self) -> None:
        """Leave the network as it was."""
        self.on_fit_end()

    def on_fit_end(self) -> None:
        """Leave the network as it was."""
        if self._tap is not None:
            self._tap.remove()
        self._tap = None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Key dropout by (seed, step, rank): a resumed run drops what it would have dropped."""
        key = np.random.SeedSequence([self.seed, self.global_step, batch_idx, self.global_rank])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch of draws."""
        patterns, labels = self.augmented(batch, self.current_epoch)
        places = torch.arange(len(patterns), device=labels.device)
        if self.mixing is None:
            patterns, (labels, places) = self.shown(patterns, (labels, places), batch["draw"], self.current_epoch)
            logits = self._logits(patterns)
            loss = self._loss(logits, labels)
            sources: list[tuple[Tensor | None, Tensor]] = [(None, places)]
        else:
            mixed = self.mixing(patterns, labels, batch["other"], batch["draw"], self.current_epoch)
            whole = (mixed.first, mixed.second, mixed.share, places[: len(mixed.first)], batch["other"])
            patterns, (*parts, first, second) = self.shown(mixed.patterns, whole, batch["draw"], self.current_epoch)
            mixed = Mixed(patterns, *parts)
            logits, labels = self._logits(mixed.patterns), mixed.main
            loss = self._loss_of_mixtures(logits, mixed)
            sources = [(mixed.share, first), (1 - mixed.share, second)]
        beside = None if self.auxiliary is None else self._auxiliary_loss(batch, sources)
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            # Summed on the device: asking for the number at every step would make a GPU wait.
            sums = [loss * len(labels), correct, torch.full_like(loss, len(labels))]
            sums += [] if beside is None else [beside * len(labels)]
            self._train_sums = self._train_sums.to(loss.device) + torch.stack(sums)
        return loss if beside is None else loss + beside

    def _auxiliary_loss(self, batch: Batch, sources: Sequence[tuple[Tensor | None, Tensor]]) -> Tensor:
        """Return the mean of the auxiliary tasks' losses over samples.

        ``sources``: for each of the draws that a sample is mixed from its share (None: all of it) and place in the
        batch, (S,) each.
        """
        assert self.auxiliary is not None and self._tap is not None
        if self.auxiliary_rests:  # other processes wait for a gradient of all that they know of
            return silent(*self.auxiliary.parameters()) if distributed() else torch.zeros((), device=self.device)
        rows, partners = batch["row"], batch.get("partner", batch["row"])
        features_SF = self._tap.features(len(sources[0][1]))
        parts = []
        for share_S, place_S in sources:
            loss_S = self.auxiliary.each(features_SF, rows[place_S], partners[place_S])
            parts.append(loss_S if share_S is None else share_S * loss_S)
        return torch.stack(parts).sum(0).mean()

    def _no_sums(self) -> Tensor:
        return torch.zeros(3 if self.auxiliary is None else 4)

    def augmented(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        """Return standardised training patterns (B, C, H, W), changed as augmentation says, and their labels."""
        coded, labels = batch["patterns"], batch["label"]
        if self.expose is not None:
            coded = self.expose(coded, batch["draw"], epoch)
        patterns = self.standardise(coded)
        return (patterns, labels) if self.augment is None else self.augment(patterns, labels, batch["draw"], epoch)

    def shown(
        self, patterns_BCHW: Tensor, parts: tuple[Tensor, ...], draws: Tensor, epoch: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what training sees of the stacks, single patterns where augmentation says so, and their ``parts``."""
        choose = getattr(self.augment, "shown", None)
        picked = choose and choose(*patterns_BCHW.shape[:2], draws, epoch)
        if picked is None:
            return patterns_BCHW, parts
        stacks_S, patterns_S = picked
        return patterns_BCHW[stacks_S, patterns_S, None], tuple(part[stacks_S] for part in parts)

    def _loss(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        self.loss.progress = self.current_epoch / (self.trainer.max_epochs or 1)  # type: ignore[assignment]
        if self._tap is None:
            return self.loss(logits_BK, labels_B)
        return self.loss(logits_BK, labels_B, self._tap.features(len(labels_B)))

    def _loss_of_mixtures(self, logits_BK: Tensor, mixed: Mixed) -> Tensor:
        """Return the mean over the batch of both labels' losses, each by its share."""
        assert isinstance(self.loss, Loss)
        self.loss.progress = self.current_epoch / (self.trainer.max_epochs or 1)
        features = None if self._tap is None else self._tap.features(len(logits_BK))
        first = mixed.share * self.loss.each(logits_BK, mixed.first, features)
        return (first + (1 - mixed.share) * self.loss.each(logits_BK, mixed.second, features)).mean()

    def on_train_epoch_start(self) -> None:
        """Start counting anew."""
        self._train_sums = self._no_sums()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """After an epoch's last batch log its mean loss and accuracy over the augmented draws of all ranks.

        (In ``on_train_epoch_end`` it would come after the callbacks that write it down.)
        """
        if not self.trainer.is_last_batch:
            return
        loss, correct, count, *beside = self._sums_of_each_rank().sum(0).tolist()
        self._log({"train/loss": loss / count, "train/top1": correct / count})
        if beside:
            self._log({"train/auxiliary": beside[0] / count})

    def _sums_of_each_rank(self) -> Tensor:
        """Return the sums (R, 3 or 4) of loss, correct answers, draws and auxiliary loss of each rank."""
        if not (dist.is_available() and dist.is_initialized()):
            return self._train_sums[None]
        sums = [torch.empty_like(self._train_sums) for _ in range(dist.get_world_size())]
        dist.all_gather(sums, self._train_sums)
        return torch.stack(sums)

    def _log(self, scores: dict[str, float]) -> None:
        """Log scores that are already over all ranks (Lightning warns unless it may average them once more)."""
        self.log_dict(scores, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of one batch; scores are made once, over all."""
        self._evaluated.append((batch["row"], batch["label"], self(batch["patterns"])))

    def on_validation_epoch_end(self) -> None:
        """Log val/macro_f1, top1, top5 and loss over every validation sample of every rank, each counted once."""
        parts = [torch.cat(column).cpu().numpy() for column in zip(*self._evaluated, strict=True)]
        self._evaluated.clear()
        _, (labels, logits) = gather_by_row(*parts)
        self._log({f"val/{name}": value for name, value in validation_scores(labels, logits).items()})

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return the catalog rows and logits of one batch, and what the auxiliary tasks answer."""
        found = {"row": batch["row"], "logits": self(batch["patterns"])}
        if self.auxiliary is None:
            return found
        assert self._tap is not None
        return found | self.auxiliary.answers(self._tap.features(len(batch["row"])))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep each rank's sums of the epoch so far (called on every rank)."""
        checkpoint["train_sums"] = self._sums_of_each_rank().cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights whose answers mean other groups; go on with the rank's sums, or all of them on the first one.

        Float sums depend on their order, so a run on as many ranks as before takes up exactly what each rank had.
        """
        stored = checkpoint["state_dict"].get("classes")
        if stored is None or stored.tolist() != self.classes.tolist():
            raise DataError(
                "The checkpoint was trained for other space groups than this run's: "
                "resume it with the dataset and split it was made with."
            )
        sums = checkpoint.get("train_sums")
        width = len(self._no_sums())
        if not (isinstance(sums, Tensor) and sums.is_floating_point() and sums.shape[-1:] == (width,)):
            return
        sums = sums.reshape(-1, width)
        if len(sums) == self.trainer.world_size:
            self._train_sums = sums[self.global_rank].clone()
        elif self.global_rank == 0:
            self._train_sums = sums.sum(0)


def validation_scores(labels_N: NDArray[np.int64], logits_NK: NDArray[np.float32]) -> dict[str, float]:
    """Return what model selection may look at: macro_f1 over classes present, top1, top5 and plain cross-entropy.

    A label of -1, a group training never saw, is always a miss and left out of the cross-entropy.
    """
    loss = F.cross_entropy(torch.from_numpy(logits_NK), torch.from_numpy(labels_N), ignore_index=-1)
    return {
        "macro_f1": float(macro_f1(labels_N, logits_NK.argmax(1))),
        "top1": float(top_k(labels_N, logits_NK, 1)),
        "top5": float(top_k(labels_N, logits_NK, 5)),
        "loss": float(loss),
    }
