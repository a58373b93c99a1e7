"""What ``model=``, ``loss=``, ``optimizer=``, ``trainer=``, ``logger=`` and ``callbacks=`` may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from sgexp.schema import Component, bounded, one_of


@dataclass(kw_only=True)
class SmallNetConfig(Component):
    """The default: a small residual network that a laptop trains in minutes."""

    target: ClassVar[str] = "sgexp.learning.models.small.small_net"

    width: int = bounded(24, low=4, high=512)
    blocks: int = bounded(1, low=1, high=8)
    norm: str = one_of("batch", "batch", "group")
    dropout: float = bounded(0.0, low=0.0, high=0.95)
    patterns: str = one_of("shared", "shared", "stacked")
    pool: str = one_of("features", "features", "logits", "probabilities")


@dataclass(kw_only=True)
class ResNetConfig(Component):
    """The residual networks of He et al. 2016, with the D variant of He et al. 2019 and a narrow one of Pan 2020."""

    target: ClassVar[str] = "sgexp.learning.models.resnet.resnet"

    depth: int = one_of(18, 18, 34, 50, 101)
    width: int = bounded(64, low=8, high=1024)
    variant: str = one_of("b", "b", "d", "d_bare")
    norm: str = one_of("batch", "batch", "group")
    dropout: float = bounded(0.0, low=0.0, high=0.95)
    patterns: str = one_of("stacked", "shared", "stacked")
    pool: str = one_of("features", "features", "logits", "probabilities")


@dataclass(kw_only=True)
class SetNetConfig(Component):
    """Attention over any number of patterns (Ilse et al. 2018, Lee et al. 2019) on top of the small network."""

    target: ClassVar[str] = "sgexp.learning.models.set.set_net"

    width: int = bounded(24, low=4, high=512)
    blocks: int = bounded(1, low=1, high=8)
    norm: str = one_of("batch", "batch", "group")
    dropout: float = bounded(0.0, low=0.0, high=0.95)
    layers: int = bounded(1, low=0, high=8)
    heads: int = one_of(4, 1, 2, 4, 8)
    hidden: int = bounded(64, low=1, high=4096)


@dataclass(kw_only=True)
class DefectNetConfig(Component):
    """Fully convolutional, dilated at its end, in the manner of pycroscopy's DefectNet and AtomNet."""

    target: ClassVar[str] = "sgexp.learning.models.defectnet.defectnet"

    width: int = bounded(16, low=4, high=512)
    norm: str = one_of("batch", "batch", "group")
    dropout: float = bounded(0.0, low=0.0, high=0.95)
    patterns: str = one_of("shared", "shared", "stacked")
    pool: str = one_of("features", "features", "logits", "probabilities")


@dataclass(kw_only=True)
class TimmConfig(Component):
    """A network of timm, where that can be imported."""

    target: ClassVar[str] = "sgexp.learning.models.timm_model.timm_model"

    name: str = "resnet26d"
    dropout: float = bounded(0.0, low=0.0, high=0.95)
    patterns: str = one_of("shared", "shared", "stacked")
    pool: str = one_of("features", "features", "logits", "probabilities")


@dataclass(kw_only=True)
class LinearHeadConfig(Component):
    """A linear last layer: a logit for each class."""

    target: ClassVar[str] = "sgexp.learning.models.hierarchical.linear"


@dataclass(kw_only=True)
class HierarchicalHeadConfig(Component):
    """Crystal system, then point group, then space group, each step among the children of the one before."""

    target: ClassVar[str] = "sgexp.learning.models.hierarchical.hierarchical"


@dataclass(kw_only=True)
class NoAuxiliaryConfig(Component):
    """Nothing is asked beside the space group."""

    target: ClassVar[str] = "sgexp.learning.auxiliary.none"


@dataclass(kw_only=True)
class CellAuxiliaryConfig(Component):
    """Crystal system, cell lengths and angles as further tasks, each with its weight in the loss."""

    target: ClassVar[str] = "sgexp.learning.auxiliary.cell"

    system: float = bounded(0.1, low=0.0, high=100.0)
    lengths: float = bounded(0.1, low=0.0, high=100.0)
    angles: float = bounded(0.1, low=0.0, high=100.0)

    def contradiction(self, key: str) -> str | None:
        """Refuse tasks none of which counts."""
        if self.system or self.lengths or self.angles:
            return None
        return f"{key}.system, lengths and angles are all 0: give one a weight, or choose {key}=none"


@dataclass(kw_only=True)
class CrossEntropyConfig(Component):
    """Plain cross-entropy."""

    target: ClassVar[str] = "sgexp.learning.losses.CrossEntropy"

    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class WeightedConfig(Component):
    """Cross-entropy weighted by inverse class frequency."""

    target: ClassVar[str] = "sgexp.learning.losses.Weighted"
    treats_imbalance: ClassVar[bool] = True

    power: float = bounded(1.0, low=0.0, high=2.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class LogitAdjustedConfig(Component):
    """Logit-adjusted cross-entropy (Menon et al. 2021)."""

    target: ClassVar[str] = "sgexp.learning.losses.LogitAdjusted"
    treats_imbalance: ClassVar[bool] = True

    tau: float = bounded(1.0, low=0.0, high=10.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class FocalConfig(Component):
    """The focal loss (Lin et al. 2017): samples that are known already count for less."""

    target: ClassVar[str] = "sgexp.learning.losses.Focal"

    gamma: float = bounded(2.0, low=0.0, high=10.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class ClassBalancedConfig(Component):
    """Cross-entropy or focal loss weighted by the effective number of samples (Cui et al. 2019)."""

    target: ClassVar[str] = "sgexp.learning.losses.ClassBalanced"
    treats_imbalance: ClassVar[bool] = True

    beta: float = bounded(0.999, low=0.0, high=0.9999999)
    gamma: float = bounded(0.0, low=0.0, high=10.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class BalancedSoftmaxConfig(Component):
    """The balanced softmax (Ren et al. 2020)."""

    target: ClassVar[str] = "sgexp.learning.losses.BalancedSoftmax"
    treats_imbalance: ClassVar[bool] = True

    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class LDAMConfig(Component):
    """Margins that are larger for rarer classes (Cao et al. 2019), on cosines."""

    target: ClassVar[str] = "sgexp.learning.losses.LDAM"
    treats_imbalance: ClassVar[bool] = True

    margin: float = bounded(0.5, low=0.0, high=2.0)
    scale: float = bounded(30.0, low=0.1, high=1000.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class SeesawConfig(Component):
    """Frequent labels push rarer classes down less (Wang et al. 2021)."""

    target: ClassVar[str] = "sgexp.learning.losses.Seesaw"
    treats_imbalance: ClassVar[bool] = True

    p: float = bounded(0.8, low=0.0, high=10.0)
    q: float = bounded(2.0, low=0.0, high=10.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class InfluenceBalancedConfig(Component):
    """Samples that bend the decision boundary most count for less, from some epoch on (Park et al. 2021)."""

    target: ClassVar[str] = "sgexp.learning.losses.InfluenceBalanced"
    treats_imbalance: ClassVar[bool] = True

    alpha: float = bounded(1000.0, low=1e-6, high=1e9)
    start: float = bounded(0.5, low=0.0, high=1.0)
    label_smoothing: float = bounded(0.1, low=0.0, high=0.99)


@dataclass(kw_only=True)
class OneStageConfig(Component):
    """Everything is trained alike from the first epoch to the last."""

    target: ClassVar[str] = "sgexp.learning.stages.none"


@dataclass(kw_only=True)
class StageConfig(Component):
    """A training in two stages."""

    treats_imbalance: ClassVar[bool] = True

    start: float = bounded(0.8, low=0.0, high=1.0)


@dataclass(kw_only=True)
class ClassifierRetrainingConfig(StageConfig):
    """A fresh last layer on evenly drawn classes (Kang et al. 2020)."""

    target: ClassVar[str] = "sgexp.learning.stages.crt"

    lr: float = bounded(1.0, low=0.0, high=1000.0)


@dataclass(kw_only=True)
class LearnableScalingConfig(StageConfig):
    """A factor of each class's logit, learned on evenly drawn classes (Kang et al. 2020)."""

    target: ClassVar[str] = "sgexp.learning.stages.lws"

    lr: float = bounded(1.0, low=0.0, high=1000.0)


@dataclass(kw_only=True)
class DeferredReweightingConfig(StageConfig):
    """Rare classes weigh more in the second stage (Cao et al. 2019)."""

    target: ClassVar[str] = "sgexp.learning.stages.drw"

    beta: float = bounded(0.9999, low=0.0, high=0.9999999)


@dataclass(kw_only=True)
class DeferredResamplingConfig(StageConfig):
    """Classes are drawn evenly in the second stage (Cao et al. 2019)."""

    target: ClassVar[str] = "sgexp.learning.stages.drs"


@dataclass(kw_only=True)
class ProbabilityFlowConfig(StageConfig):
    """Two-class answers for every pair of classes, recombined with the network's (Pan 2020)."""

    target: ClassVar[str] = "sgexp.learning.stages.probability_flow"

    lr: float = bounded(1.0, low=0.0, high=1000.0)
    top: int = bounded(5, low=0, high=230)
    flow: float = bounded(0.5, low=0.0, high=1.0)
    rounds: int = bounded(1, low=1, high=1000)

    def contradiction(self, key: str) -> str | None:
        """Refuse a flow among a single class."""
        return f"{key}.top=1 leaves nowhere to flow: set it to 2 or more, or to 0 for all" if self.top == 1 else None


@dataclass(kw_only=True)
class TrickleDownConfig(StageConfig):
    """Levels of classes, frequent ones first; each names its own or hands down to the next (Dash & Dasgupta 2020)."""

    target: ClassVar[str] = "sgexp.learning.stages.trickle_down"

    lr: float = bounded(1.0, low=0.0, high=1000.0)
    per_level: int = bounded(20, low=1, high=230)
    whole: bool = True


@dataclass(kw_only=True)
class SGDConfig(Component):
    """Stochastic gradient descent with momentum, Nesterov's unless told."""

    target: ClassVar[str] = "sgexp.learning.optimizers.sgd"

    lr: float = bounded(0.1, low=0.0, high=100.0)
    momentum: float = bounded(0.9, low=0.0, high=0.9999)
    weight_decay: float = bounded(5e-5, low=0.0, high=10.0)
    decay_norms: bool = False
    schedule: str = one_of("one_cycle", "one_cycle", "cosine", "constant")
    warmup: float = bounded(0.25, low=0.0, high=0.95)
    nesterov: bool = True


@dataclass(kw_only=True)
class AdamWConfig(Component):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    target: ClassVar[str] = "sgexp.learning.optimizers.adamw"

    lr: float = bounded(6e-3, low=0.0, high=100.0)
    beta1: float = bounded(0.9, low=0.0, high=0.9999)
    beta2: float = bounded(0.99, low=0.0, high=0.99999)
    weight_decay: float = bounded(0.05, low=0.0, high=10.0)
    decay_norms: bool = False
    schedule: str = one_of("one_cycle", "one_cycle", "cosine", "constant")
    warmup: float = bounded(0.25, low=0.0, high=0.95)


@dataclass(kw_only=True)
class LAMBConfig(Component):
    """Adam's step for each layer, as long as a share of the layer's own weights are (You et al. 2020)."""

    target: ClassVar[str] = "sgexp.learning.optimizers.lamb"

    lr: float = bounded(2e-2, low=0.0, high=100.0)
    beta1: float = bounded(0.9, low=0.0, high=0.9999)
    beta2: float = bounded(0.999, low=0.0, high=0.99999)
    eps: float = bounded(1e-6, low=1e-12, high=1.0)
    weight_decay: float = bounded(0.01, low=0.0, high=10.0)
    decay_norms: bool = False
    debias: bool = True
    longest: float = bounded(0.0, low=0.0, high=1e6)
    schedule: str = one_of("one_cycle", "one_cycle", "cosine", "constant")
    warmup: float = bounded(0.25, low=0.0, high=0.95)


@dataclass(kw_only=True)
class TrainerConfig:
    """Where and for how long to train."""

    accelerator: str = one_of("auto", "auto", "cpu", "gpu")
    devices: int = bounded(1, low=0, high=4096)
    nodes: int = bounded(1, low=1, high=4096)
    strategy: str = one_of("ddp", "ddp", "fsdp")
    precision: str = one_of("auto", "auto", "32", "bf16", "16", "64")
    epochs: int = bounded(24, low=1, high=100_000)
    epoch_draws: Optional[int] = bounded(None, low=0, high=1_000_000_000)  # noqa: UP045 - OmegaConf reads it
    batch_size: int = bounded(64, low=1, high=1_000_000)
    eval_batch_size: int = bounded(256, low=1, high=1_000_000)
    accumulate: int = bounded(1, low=1, high=10_000)
    clip: float = bounded(1.0, low=0.0, high=1e6)
    workers: int = bounded(0, low=0, high=256)
    validate_every: int = bounded(1, low=1, high=10_000)
    limit_batches: Optional[int] = bounded(None, low=1, high=1_000_000)  # noqa: UP045 - OmegaConf reads it
    overfit_batches: int = bounded(0, low=0, high=1_000_000)
    max_minutes: Optional[float] = bounded(None, low=0.01, high=1e6)  # noqa: UP045
    sync_batchnorm: bool = True
    lr_scaling: str = one_of("none", "none", "linear", "sqrt")
    lr_batch: int = bounded(64, low=1, high=1_000_000)
    compile: bool = False
    channels_last: bool = True
    deterministic: bool = True
    timeout_seconds: float = bounded(600.0, low=1.0, high=1e7)
    lost_seconds: float = bounded(40.0, low=0.0, high=1e7)

    def contradiction(self, key: str) -> str | None:
        """Refuse trainings that would never validate, batches that devices cannot share, half precision on CPUs."""
        if self.validate_every > self.epochs:
            return (
                f"{key}.validate_every={self.validate_every} is more than {key}.epochs={self.epochs}, so nothing would "
                f"ever be validated: set {key}.validate_every to {self.epochs} or less"
            )
        if self.devices and self.batch_size % (share := self.devices * self.nodes):
            return (
                f"{key}.batch_size={self.batch_size} cannot be shared evenly by {share} devices: choose a multiple of "
                f"{share}, such as {max(share, self.batch_size // share * share)}"
            )
        if self.accelerator == "cpu" and self.precision == "16":
            return f"{key}.precision=16 needs a GPU: on a CPU choose {key}.precision=32 (or bf16)"
        return None


@dataclass(kw_only=True)
class NoLoggerConfig(Component):
    """The run folder with its metrics.csv, which every run has, and nothing beside it."""

    target: ClassVar[str] = "sgexp.learning.loggers.base.RunLogger"


@dataclass(kw_only=True)
class WandbLoggerConfig(Component):
    """Weights & Biases, offline unless WANDB_MODE=online."""

    target: ClassVar[str] = "sgexp.learning.loggers.wandb.WandbLogger"

    project: Optional[str] = None  # noqa: UP045 - OmegaConf reads it
    entity: Optional[str] = None  # noqa: UP045
    group: Optional[str] = None  # noqa: UP045
    tags: list[str] = field(default_factory=list)
    artifacts: bool = True


@dataclass(kw_only=True)
class TensorBoardLoggerConfig(Component):
    """TensorBoard event files."""

    target: ClassVar[str] = "sgexp.learning.loggers.tensorboard.TensorBoardLogger"


@dataclass(kw_only=True)
class MLflowLoggerConfig(Component):
    """An MLflow server or a local MLflow database."""

    target: ClassVar[str] = "sgexp.learning.loggers.mlflow.MLflowLogger"

    tracking_uri: Optional[str] = None  # noqa: UP045 - OmegaConf reads it
    experiment: str = "sgexp"
    artifacts: bool = True


@dataclass(kw_only=True)
class CallbacksConfig:
    """What happens beside training: progress, checkpoints, stopping early."""

    progress: bool = True
    monitor: str = one_of("macro_f1", "macro_f1", "top1", "top5", "loss")
    patience: int = bounded(0, low=0, high=100_000)
    checkpoint_steps: int = bounded(0, low=0, high=10_000_000)
    grace_seconds: float = bounded(25.0, low=0.1, high=86_400.0)


GROUPS: dict[str, tuple[type, ...]] = {
    "model": (SmallNetConfig, ResNetConfig, SetNetConfig, DefectNetConfig, TimmConfig),
    "head": (LinearHeadConfig, HierarchicalHeadConfig),
    "auxiliary": (NoAuxiliaryConfig, CellAuxiliaryConfig),
    "loss": (
        CrossEntropyConfig,
        WeightedConfig,
        LogitAdjustedConfig,
        FocalConfig,
        ClassBalancedConfig,
        BalancedSoftmaxConfig,
        LDAMConfig,
        SeesawConfig,
        InfluenceBalancedConfig,
    ),
    "optimizer": (SGDConfig, AdamWConfig, LAMBConfig),
    "stage": (
        OneStageConfig,
        ClassifierRetrainingConfig,
        LearnableScalingConfig,
        DeferredReweightingConfig,
        DeferredResamplingConfig,
        ProbabilityFlowConfig,
        TrickleDownConfig,
    ),
    "trainer": (TrainerConfig,),
    "logger": (NoLoggerConfig, WandbLoggerConfig, TensorBoardLoggerConfig, MLflowLoggerConfig),
    "callbacks": (CallbacksConfig,),
}
