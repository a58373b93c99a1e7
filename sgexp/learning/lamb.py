"""LAMB: Adam's step for each layer, as long as a share of the layer's own weights are.

Y. You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", ICLR 2020, arXiv:1904.00962,
algorithm 2. PyTorch has none, and none of the packages that sgexp needs anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LAMB(Optimizer):
    """x <- x - lr phi(|x|) / |u| u with u = m / (sqrt(v) + eps) + weight_decay x, for each parameter x by itself.

    m and v are Adam's running means of the gradient and of its square. A parameter that is 0, or a step that is, has no
    ratio of lengths: it takes u as it is.

    Parameters
    ----------
    params : parameters, or groups of them.
    lr : learning rate, > 0.
    betas : memories of the mean gradient and of the mean squared gradient, 0..1.
    eps : added to the root of the mean square, > 0.
    weight_decay : share of x in u, >= 0.
    debias : divide m by 1 - beta1^t and v by 1 - beta2^t at step t, as the published algorithm does; its third preprint
        and codes after that do not.
    longest : phi(z) = min(z, longest), >= 0; inf: phi(z) = z.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        debias: bool = True,
        longest: float = math.inf,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"debias": debias, "longest": longest})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Make one step; return what ``closure`` does, where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())  # on the CPU, as Adam's: asking for it makes no GPU wait
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(parameter.grad, 1 - beta1)  # type: ignore[arg-type]
        square.mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)  # type: ignore[arg-type]
        if group["debias"]:
            step = float(state["step"])
            mean, square = mean / (1 - beta1**step), square / (1 - beta2**step)
        update = mean / square.sqrt().add_(group["eps"])
        if group["weight_decay"]:
            update.add_(parameter, alpha=group["weight_decay"])
        length, update_length = parameter.norm().clamp(max=group["longest"]), update.norm()
        ratio = torch.where((length > 0) & (update_length > 0), length / update_length, 1.0)
        parameter.sub_(update.mul_(group["lr"] * ratio))
