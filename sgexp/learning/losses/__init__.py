"""What training minimises. Frequencies are those of the *drawn* classes, so that no resampler is corrected twice."""

from sgexp.learning.losses.adjusted import LDAM, BalancedSoftmax, LogitAdjusted, Seesaw
from sgexp.learning.losses.base import Loss
from sgexp.learning.losses.cross_entropy import ClassBalanced, CrossEntropy, Focal, Weighted
from sgexp.learning.losses.influence import InfluenceBalanced

__all__ = [
    "LDAM",
    "BalancedSoftmax",
    "ClassBalanced",
    "CrossEntropy",
    "Focal",
    "InfluenceBalanced",
    "LogitAdjusted",
    "Loss",
    "Seesaw",
    "Weighted",
]
