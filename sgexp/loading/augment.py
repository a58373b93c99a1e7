"""Changes to a training batch that leave the answer known, made on the device just before the network.

Which ones are safe follows from symmetry. A pattern's in-plane orientation is a convention of the experiment, so every
pattern may be rotated by itself. A mirrored stack is the stack of the mirror-image crystal: that crystal has the same
space group, except in the 22 enantiomorphic groups (11 pairs such as P4_1 and P4_3), where it has the partner's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from sgexp.crystallography.groups import space_group
from sgexp.loading.counter import draw_keys, uniform
from sgexp.loading.exposure import Code, Exposure

_NOISE_POOL = 1 << 20
_SHOW_STREAM = 0x7368_6F77  # keeps these numbers apart from those of the other changes


class Augment(nn.Module):
    """Rotate, mirror, scale, shift, add noise to and erase parts of standardised patterns, and change their order.

    All is keyed by (seed, epoch, draw).

    Parameters
    ----------
    rotate : "none"; "quarter", each pattern by its own multiple of 90 degrees; or "free", by its own angle (bilinear).
    mirror : mirror half of the stacks, with the label swapped in enantiomorphic groups.
    zoom : largest change of the camera length, as a share: each stack is scaled by its own factor between 1 - zoom and
        1 / (1 - zoom) (bilinear), uniform in its logarithm.
    noise : standard deviation of normal noise on each pixel, in units of the pattern's own standard deviation.
    erase : probability that a pattern has one rectangle replaced by its mean (Zhong et al. 2020, arXiv:1708.04896).
    erase_area : largest share of a pattern that is erased.
    erase_least, erase_ratio : with a ratio of 1 or more, areas are drawn uniformly from ``erase_least`` to
        ``erase_area`` and ratios of height to width from 1 / erase_ratio to erase_ratio, uniformly in their logarithm,
        sides cut at the picture's, as torchvision's RandomErasing does (which draws anew what is cut). With 0, sides
        are drawn uniformly below the root of ``erase_area``.
    shift : largest shift of each pattern by itself, up or down and left or right, as a share of its width (bilinear;
        what comes in at an edge repeats it): the middle of a pattern is never found exactly.
    shuffle : put the patterns of a stack in any order, each alike often: which zone axis comes first is a convention.
    show : what training sees of a stack: "all" patterns together; "one" of them, drawn each time; "each" by itself, as
        a sample of its own (see ``shown``).
    dose, blur, background : what a camera does, made before patterns are standardised (see ``exposure``).
    classes : group number of each class index, (K,).
    seed : with epoch and draw it decides everything.
    """

    def __init__(
        self,
        rotate: str,
        mirror: bool,
        zoom: float,
        noise: float,
        erase: float,
        erase_area: float,
        shift: float = 0.0,
        shuffle: bool = False,
        erase_least: float = 0.0,
        erase_ratio: float = 0.0,
        show: str = "all",
        dose: Sequence[float] | None = None,
        blur: float = 0.0,
        background: float = 0.0,
        *,
        classes: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__()
        self.rotate, self.mirror, self.zoom, self.noise = rotate, mirror, zoom, noise
        self.erase, self.erase_area, self.seed = erase, erase_area, seed
        self.shift, self.shuffle, self.show = shift, shuffle, show
        self.erase_least, self.erase_ratio = erase_least, erase_ratio
        self.dose, self.blur, self.background = dose, blur, background
        self.mirror_class: Tensor
        self.register_buffer("mirror_class", mirrored_classes(classes), persistent=False)
        self._pool: tuple[int, Tensor] | None = None

    @torch.no_grad()
    def forward(self, patterns_BCHW: Tensor, labels_B: Tensor, draws_B: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return augmented patterns and their labels; the same draw of the same epoch always gives the same ones."""
        moves = self.mirror or self.zoom or self.shift or self.shuffle or self.rotate != "none"
        if not (moves or self.noise or self.erase):
            return patterns_BCHW, labels_B
        batch, patterns = patterns_BCHW.shape[:2]
        # A number belongs to its place, so those added at the end leave all before them as they were.
        numbers = uniform(draw_keys(self.seed, epoch, draws_B), 3 + 9 * patterns)
        per_pattern = numbers[:, 3 : 3 + 6 * patterns].reshape(batch, patterns, 6)
        shift_BC2 = (2 * numbers[:, 3 + 6 * patterns : 3 + 8 * patterns].reshape(batch, patterns, 2) - 1) * self.shift
        if self.shuffle:
            order_BC = numbers[:, 3 + 8 * patterns :].argsort(1)
            patterns_BCHW = patterns_BCHW.gather(1, order_BC[..., None, None].expand_as(patterns_BCHW))
        flip_B = torch.zeros(batch, dtype=torch.bool, device=labels_B.device)
        if self.mirror:
            partner_B = self.mirror_class[labels_B]
            flip_B = (numbers[:, 0] < 0.5) & (partner_B >= 0)
            labels_B = torch.where(flip_B, partner_B, labels_B)
        if self.rotate != "free":
            quarters = (per_pattern[..., 0] * 4).to(torch.int64) if self.rotate == "quarter" else None
            patterns_BCHW = _quarter_turn(patterns_BCHW, quarters, flip_B)
        if self.rotate == "free" or self.zoom or self.shift:
            angle_BC = per_pattern[..., 0] * (2 * math.pi if self.rotate == "free" else 0.0)
            flip_B = flip_B & (self.rotate == "free")  # quarter turns have done it
            scale_B = torch.exp((2 * numbers[:, 2] - 1) * math.log1p(-self.zoom))
            patterns_BCHW = _turn(patterns_BCHW, angle_BC, scale_B, flip_B, shift_BC2)
        if self.noise:
            patterns_BCHW = patterns_BCHW + self.noise * self._noise(numbers[:, 1], epoch, patterns_BCHW[0])
        if self.erase:
            hit_BC = per_pattern[..., 1] < self.erase
            patterns_BCHW = _erase(patterns_BCHW, hit_BC, *self._sides(per_pattern), *per_pattern[..., 4:].unbind(-1))
        return patterns_BCHW, labels_B

    def _sides(self, per_pattern_BC6: Tensor) -> tuple[Tensor, Tensor]:
        """Return height and width of what is erased, as shares of the picture's."""
        first_BC, second_BC = per_pattern_BC6[..., 2], per_pattern_BC6[..., 3]
        if not self.erase_ratio:
            return first_BC * math.sqrt(self.erase_area), second_BC * math.sqrt(self.erase_area)
        area_BC = self.erase_least + (self.erase_area - self.erase_least) * first_BC
        ratio_BC = torch.exp((2 * second_BC - 1) * math.log(self.erase_ratio))
        return (area_BC * ratio_BC).sqrt().clamp(max=1.0), (area_BC / ratio_BC).sqrt().clamp(max=1.0)

    def counts_shown(self, class_counts: ArrayLike) -> NDArray[np.float64]:
        """Return how often each class is shown where it is drawn so often, (K,): half of the mirrored go to the other.

        So a loss or mixture that corrects for frequencies corrects those of the labels that it meets.
        """
        counts_K = np.asarray(class_counts, np.float64)
        partner_K = self.mirror_class.cpu().numpy()
        return np.where((partner_K >= 0) & self.mirror, (counts_K + counts_K[partner_K]) / 2, counts_K)

    def merge_mirror_images(self) -> None:
        """Let a mirrored stack keep its label: the two groups of an enantiomorphic pair are one class."""
        self.mirror_class.copy_(torch.arange(len(self.mirror_class)))

    def exposure(self, code: Code) -> Exposure | None:
        """Return the camera that coded patterns go through first, or None where there is none."""
        if self.dose is None and not self.blur and not self.background:
            return None
        return Exposure(self.dose, self.blur, self.background, code=code, seed=self.seed)

    def shown(self, batch: int, patterns: int, draws_B: Tensor, epoch: int) -> tuple[Tensor, Tensor] | None:
        """Return which (stack, pattern) training sees, each as a sample of its own, (S,) and (S,); None: whole stacks.

        One of a stack's patterns is drawn by the draw's own number; "each" takes all, a stack's one after another.
        """
        if self.show == "all":
            return None
        stacks_B = torch.arange(batch, device=draws_B.device)
        if self.show == "one":
            number_B = uniform(draw_keys(self.seed + _SHOW_STREAM, epoch, draws_B[:batch]), 1)[:, 0]
            return stacks_B, (number_B * patterns).to(torch.int64)
        every = torch.arange(patterns, device=draws_B.device)
        return stacks_B.repeat_interleave(patterns), every.repeat(batch)

    def _noise(self, where_B: Tensor, epoch: int, like_CHW: Tensor) -> Tensor:
        """Return normal numbers, (B, C, H, W): each draw reads its own stretch of one pool made for the epoch.

        Hashing a number for every pixel would cost several times more than the rest of the augmentation.
        """
        size = _NOISE_POOL + like_CHW.numel()
        if self._pool is None or self._pool[0] != epoch or self._pool[1].device != where_B.device:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) & 0x7FFF_FFFF_FFFF_FFFF)
            self._pool = epoch, torch.randn(size, generator=generator).to(where_B.device)
        stretches = self._pool[1].as_strided((_NOISE_POOL, like_CHW.numel()), (1, 1))
        return stretches[(where_B * _NOISE_POOL).to(torch.int64)].reshape(-1, *like_CHW.shape)


def mirrored_classes(classes: Sequence[int]) -> Tensor:
    """Return the class index of each class's mirror image, (K,) int64; -1 where that group is not among the classes."""
    index = {int(number): position for position, number in enumerate(classes)}
    partners = [index.get(space_group(number).enantiomorph or number, -1) for number in index]
    return torch.tensor(partners, dtype=torch.int64)


def _quarter_turn(patterns_BCHW: Tensor, quarters_BC: Tensor | None, flip_B: Tensor) -> Tensor:
    """Mirror left-right where ``flip_B``, then rotate each pattern counter-clockwise by so many times 90 degrees.

    The eight elements of the square's group are products of a transposition and two mirrors, so three selections do.
    """
    mirror_BC = flip_B[:, None].expand(patterns_BCHW.shape[:2])
    if quarters_BC is None:
        return torch.where(mirror_BC[..., None, None], patterns_BCHW.flip(-1), patterns_BCHW)
    odd = (quarters_BC & 1).bool()
    # By 90 degrees: transpose, then mirror up-down; by 180: both mirrors; by 270: transpose, then left-right.
    up_down = (quarters_BC == 1) | (quarters_BC == 2)
    left_right = quarters_BC >= 2
    # A left-right mirror before a transposition is an up-down mirror after it.
    up_down, left_right = up_down ^ (mirror_BC & odd), left_right ^ (mirror_BC & ~odd)
    out = torch.where(odd[..., None, None], patterns_BCHW.transpose(-1, -2), patterns_BCHW)
    out = torch.where(up_down[..., None, None], out.flip(-2), out)
    return torch.where(left_right[..., None, None], out.flip(-1), out)


def _turn(patterns_BCHW: Tensor, angles_BC: Tensor, scale_B: Tensor, flip_B: Tensor, shift_BC2: Tensor) -> Tensor:
    """Mirror left-right where ``flip_B``, rotate each pattern (radians), enlarge it and shift it (shares of a width).

    Bilinear, edges repeated. The shift moves what is sampled, so it is in the picture's axes before they are turned.
    """
    batch, patterns, height, width = patterns_BCHW.shape
    sign = torch.where(flip_B, -1.0, 1.0)[:, None].expand_as(angles_BC)
    shrink_B1 = 1.0 / scale_B[:, None]
    cos, sin = torch.cos(angles_BC) * shrink_B1, torch.sin(angles_BC) * shrink_B1
    right, down = (2 * shift_BC2).unbind(-1)  # a width is 2 in the grid's units
    rows = [torch.stack([sign * cos, -sign * sin, right], -1), torch.stack([sin, cos, down], -1)]
    grid = F.affine_grid(
        torch.stack(rows, -2).reshape(-1, 2, 3), [batch * patterns, 1, height, width], align_corners=False
    )
    images = patterns_BCHW.reshape(batch * patterns, 1, height, width)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False).reshape(patterns_BCHW.shape)


def _erase(
    patterns_BCHW: Tensor, hit_BC: Tensor, tall_BC: Tensor, wide_BC: Tensor, top_BC: Tensor, left_BC: Tensor
) -> Tensor:
    """Set one rectangle of the patterns that are hit to 0, the mean of a standardised pattern."""
    height, width = patterns_BCHW.shape[-2:]
    top_BC, left_BC = top_BC * (1 - tall_BC), left_BC * (1 - wide_BC)
    y = (torch.arange(height, device=patterns_BCHW.device) + 0.5) / height
    x = (torch.arange(width, device=patterns_BCHW.device) + 0.5) / width
    in_y = (y >= top_BC[..., None]) & (y < (top_BC + tall_BC)[..., None]) & hit_BC[..., None]
    in_x = (x >= left_BC[..., None]) & (x < (left_BC + wide_BC)[..., None])
    return patterns_BCHW.masked_fill(in_y[..., :, None] & in_x[..., None, :], 0.0)
