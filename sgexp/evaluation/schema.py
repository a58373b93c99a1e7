"""The knobs of evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from sgexp.schema import bounded

BASELINES = ("majority", "nearest_neighbour", "radial_linear")


@dataclass(kw_only=True)
class EvaluationConfig:
    """How figures, intervals and baselines are made."""

    confidence: float = bounded(0.95, low=0.5, high=0.999)
    resamples: int = bounded(1000, low=100, high=100_000)
    seed: int = bounded(0, low=0)
    many_from: int = bounded(10, low=2)
    few_to: int = bounded(3, low=1)
    calibration_bins: int = bounded(15, low=2, high=1000)
    baselines: list[str] = field(default_factory=lambda: list(BASELINES), metadata={"choices": BASELINES})

    def contradiction(self, key: str) -> str | None:
        """Refuse shots of which none is medium because few begins where many does."""
        if self.few_to >= self.many_from:
            return (
                f"{key}.few_to={self.few_to} must be less than {key}.many_from={self.many_from}: up to so many "
                "training families a group is few-shot, from so many on many-shot"
            )
        return None


GROUPS: dict[str, tuple[type, ...]] = {"evaluation": (EvaluationConfig,)}
