"""AdamW whose two moments are kept in bf16, rounded stochastically: half the memory of fp32 states.

Rounded to the nearest, a running average stops: with beta2 = 0.999 a step moves the second moment by at most a thousandth
of itself when gradients shrink, bf16's neighbours are 4 to 8 thousandths apart, so it would never come down. Stochastic
rounding goes up or down with the probability that makes the expectation right: no change is too small to count. (With
train.py's beta2 of 0.95 the nearest would do as well in most cases; this is right with any.)
"""
import random

import torch

CHUNK = 2 ** 22  # elements that are updated at a time: each of the six fp32 temporaries takes 17 MB


class RoundedAdamW:
    """torch.optim.AdamW's update (arXiv 1711.05101, algorithm 2), with its moments in bf16; parameters are fp32.

    The random bits are a function of (seed, number of the step), so a resumed run repeats an undisturbed one.
    """

    def __init__(self, groups: list[dict], betas: tuple[float, float], seed: int = 0, eps: float = 1e-8):
        self.param_groups = [{"lr": 0.0, **group} for group in groups]
        self.betas, self.seed, self.eps, self.steps = betas, seed, eps, 0
        self.state = [[torch.zeros_like(p, dtype=torch.bfloat16) for _ in range(2)] for p in self.params()]

    def params(self) -> list[torch.Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        device = self.params()[0].device
        dice = torch.Generator(device).manual_seed(random.Random(f"rounding/{self.seed}/{self.steps}").getrandbits(62))
        states = iter(self.state)
        for group in self.param_groups:
            for p in group["params"]:
                moments = next(states)
                if p.grad is not None:
                    flat = (p.view(-1), p.grad.reshape(-1), *(m.view(-1) for m in moments))
                    for chunk in zip(*(x.split(CHUNK) for x in flat)):
                        self.update(*chunk, group["lr"], group["weight_decay"], dice)

    def update(self, p, grad, held_m, held_v, lr: float, weight_decay: float, dice: torch.Generator) -> None:
        """The update of one chunk, in place: p and grad fp32, the moments bf16, all [n]."""
        b1, b2 = self.betas
        m = held_m.float().lerp_(grad, 1 - b1)
        v = held_v.float().mul_(b2).addcmul_(grad, grad, value=1 - b2)
        bits = torch.randint(-2 ** 31, 2 ** 31, p.shape, dtype=torch.int32, generator=dice, device=p.device)
        held_m.copy_(rounded(m, bits & 0xFFFF))  # one draw serves both: its lower half m, its upper half v
        held_v.copy_(rounded(v, bits >> 16 & 0xFFFF))
        p.mul_(1 - lr * weight_decay)
        size = v.sqrt_().div_((1 - b2 ** self.steps) ** 0.5).add_(self.eps)
        p.addcdiv_(m, size, value=-lr / (1 - b1 ** self.steps))

    def state_dict(self) -> dict:
        """In the layout of torch.optim.AdamW's."""
        return {"state": {i: {"exp_avg": m, "exp_avg_sq": v} for i, (m, v) in enumerate(self.state)}, "steps": self.steps}

    def load_state_dict(self, found: dict) -> None:
        if found["state"].keys() != set(range(len(self.state))):
            raise ValueError("the states of another model")
        for i, held in enumerate(self.state):
            for ours, name in zip(held, ("exp_avg", "exp_avg_sq")):
                if found["state"][i][name].dtype != ours.dtype or found["state"][i][name].shape != ours.shape:
                    raise ValueError(f"state {i} is {found['state'][i][name].dtype}, not {ours.dtype}, or of another shape")
                ours.copy_(found["state"][i][name])
        self.steps = found["steps"]


def rounded(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Finite fp32 `x` to bf16, up with the probability of its distance from below; `noise` uniform on 0 .. 65535, int32.

    bf16 is the upper half of fp32's bits: noise in the lower half carries over as often as that half is large.
    """
    return (x.view(torch.int32) + noise & -0x10000).view(torch.float32).bfloat16()  # exact: the lower half is 0
