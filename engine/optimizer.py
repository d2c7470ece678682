"""AdamW on fp32 masters, which may lie on the CPU, and whose moments may be kept in bf16.

Shared by train.py and sft.py.
"""

import functools
import random
from concurrent.futures import ThreadPoolExecutor

import torch

from config import NotFinite, UserError

# A layer's gradients on their way to the CPU: more would fill the GPU where the CPU is slower.
IN_FLIGHT = 12
CHUNK = 2**22  # elements that are updated at a time: each of the six fp32 temporaries takes 17 MB


class MasterAdamW:
    """AdamW on fp32 masters, while the model may compute in bf16.

    With N(0, 0.02) weights and steps of 1e-6, 98 % of pure-bf16 weights would never move. The
    masters are the weights as the model comes; then the model is moved to `device` (default: where
    it is) and turned into `dtype`, one parameter after the other. An fp32 model that stays is its
    own master.

    offload: masters, gradient sums and AdamW's states are on the CPU, and so is the update; the
    device has the model.
    states: fp32 or bf16, the type of AdamW's two moments; `seed` is for the rounding to bf16.
    """

    def __init__(
        self,
        model,
        dtype: torch.dtype = torch.float32,
        betas=(0.9, 0.95),
        weight_decay: float = 0.0,
        device=None,
        offload: bool = False,
        states: str = "fp32",
        seed: int = 0,
    ):
        device = torch.device(device or model.device)
        stays = device == model.device and not offload
        own = stays and dtype == torch.float32 and model.dtype == torch.float32
        self.names = [name for name, _ in model.named_parameters()]
        self.params = list(model.parameters())
        if own:
            self.masters = self.params
        else:
            home = "cpu" if offload else device
            self.masters = [split(p, dtype, device, home) for p in self.params]
        # Biases and the weights of norms are not pulled towards 0.
        matrices = [master for master in self.masters if master.dim() > 1]
        vectors = [master for master in self.masters if master.dim() <= 1]
        groups = [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        if states == "bf16":
            self.adam = RoundedAdamW(groups, betas, seed)
        else:
            self.adam = torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)
        if not own:
            for i, p in enumerate(self.params):
                p.register_post_accumulate_grad_hook(functools.partial(self.take, i))
        self.offload = offload
        self.jobs = {}  # gradients on their way to the CPU, by the parameter's index
        self.staged = None
        if offload:
            self.pool = ThreadPoolExecutor(1)  # one thread, so that the sums have an order
        if offload and device.type == "cuda":
            # Gradients and weights pass through it: the only memory that is copied, and so the only
            # one that is pinned. One piece, because torch rounds each pinned piece up to a power of
            # two.
            sizes = [p.numel() for p in self.params]
            flat = torch.empty(sum(sizes), dtype=dtype, pin_memory=True)
            pieces = zip(flat.split(sizes), self.params)
            self.staged = [piece.view(p.shape) for piece, p in pieces]
            self.stream = torch.cuda.Stream(device)

    def named_masters(self) -> dict[str, torch.Tensor]:
        return {name: master.detach() for name, master in zip(self.names, self.masters)}

    def take(self, i: int, p) -> None:
        """Add a parameter's gradient to its master's in fp32, and free it.

        Backward calls this as soon as the gradient is there.
        """
        if self.offload:
            self.send(i, p)
        else:
            add(self.masters[i], p.grad)
        p.grad = None

    def send(self, i: int, p) -> None:
        """Copy a gradient to the CPU beside the backward pass, and have it added there."""
        while i in self.jobs or len(self.jobs) >= IN_FLIGHT:
            self.wait_for_oldest()
        copied = None
        if self.staged:
            self.stream.wait_stream(torch.cuda.current_stream(p.device))
            with torch.cuda.stream(self.stream):
                self.staged[i].copy_(p.grad, non_blocking=True)
                copied = torch.cuda.Event(blocking=True)  # the job that waits for it sleeps
                copied.record()
        # The job keeps the gradient until it is copied.
        self.jobs[i] = self.pool.submit(self.receive, i, p.grad, copied)

    def receive(self, i: int, grad, copied) -> None:
        """Add a gradient on the CPU; `copied`: the event after which the staged one is there."""
        if copied:
            copied.synchronize()
            add(self.masters[i], self.staged[i])
        else:
            add(self.masters[i], grad)

    def wait_for_oldest(self) -> None:
        oldest = next(iter(self.jobs))
        self.jobs.pop(oldest).result()

    def accumulate(self) -> None:
        """Take the gradients that no backward pass has handed over; call after each backward."""
        for i, (p, master) in enumerate(zip(self.params, self.masters)):
            if p is not master and p.grad is not None:
                self.take(i, p)

    def arrived(self) -> None:
        """Wait until all gradients are in their sums."""
        while self.jobs:
            self.wait_for_oldest()

    def drop_gradients(self) -> None:
        self.arrived()
        for p, master in zip(self.params, self.masters):
            p.grad = None
            master.grad = None

    def step(self, lr: float, clip_norm: float) -> float:
        """Clip, step, refresh the model's copy in place; returns the gradient norm before clipping.

        On the CPU it could run beside the next sampling, which would then draw from the weights of
        before: it does not.
        """
        self.arrived()
        norm = torch.nn.utils.clip_grad_norm_(self.masters, clip_norm)
        if not torch.isfinite(norm):
            raise NotFinite("the gradient is not finite: the weights are left as they were")
        for group in self.adam.param_groups:
            group["lr"] = lr
        try:
            self.adam.step()
        except torch.OutOfMemoryError:  # some weights may have moved: not to be repeated
            raise UserError(
                "out of GPU memory in AdamW: go on from the last checkpoint with "
                "--offload-optimizer"
            ) from None
        self.drop_gradients()
        self.refresh()
        return float(norm)

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters into the model's parameters."""
        for i, (p, master) in enumerate(zip(self.params, self.masters)):
            if p is master:
                continue
            source = master
            if self.staged:
                source = self.staged[i].copy_(master)
            p.copy_(source, non_blocking=True)


def split(p, dtype: torch.dtype, device, home) -> torch.Tensor:
    """Turn a parameter into its copy on `device` in `dtype`; returns its fp32 master, which
    stays at `home`.
    """
    master = p.detach().float().to(home)
    p.data = master.to(device, dtype, copy=True)
    return master


def add(master, grad) -> None:
    """Add a gradient to a master's own, in fp32."""
    if master.grad is None:
        master.grad = grad.to(torch.float32, copy=True)
    else:
        master.grad.add_(grad)


# ---------------------------------------------------------------- moments in bf16
#
# AdamW whose two moments are kept in bf16, rounded stochastically: half the memory of fp32 states.
#
# Rounded to the nearest, a running average stops: with beta2 = 0.999 a step moves the second moment
# by at most a thousandth of itself when gradients shrink, bf16's neighbours are 4 to 8 thousandths
# apart, so it would never come down. Stochastic rounding goes up or down with the probability that
# makes the expectation right: no change is too small to count. (With a beta2 of 0.95, train.py's
# default, the nearest would do as well in most cases; this is right with any.)


class RoundedAdamW:
    """torch.optim.AdamW's update (arXiv 1711.05101, algorithm 2), with its moments in bf16;
    parameters are fp32.

    The random bits are a function of (seed, number of the step), so a resumed run repeats an
    undisturbed one.
    """

    def __init__(
        self, groups: list[dict], betas: tuple[float, float], seed: int = 0, eps: float = 1e-8
    ):
        self.param_groups = [{"lr": 0.0, **group} for group in groups]
        self.betas = betas
        self.seed = seed
        self.eps = eps
        self.steps = 0
        self.state = []  # of each parameter, its two moments
        for p in self.params():
            first = torch.zeros_like(p, dtype=torch.bfloat16)
            self.state.append([first, torch.zeros_like(first)])

    def params(self) -> list[torch.Tensor]:
        params = []
        for group in self.param_groups:
            params += group["params"]
        return params

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        device = self.params()[0].device
        seed = random.Random(f"rounding/{self.seed}/{self.steps}").getrandbits(62)
        dice = torch.Generator(device).manual_seed(seed)
        states = iter(self.state)
        for group in self.param_groups:
            for p in group["params"]:
                moments = next(states)
                if p.grad is None:
                    continue
                flat = [p.view(-1), p.grad.reshape(-1)]
                flat += [moment.view(-1) for moment in moments]
                chunks = [tensor.split(CHUNK) for tensor in flat]
                for chunk in zip(*chunks):
                    self.update(*chunk, group["lr"], group["weight_decay"], dice)

    def update(
        self, p, grad, held_m, held_v, lr: float, weight_decay: float, dice: torch.Generator
    ) -> None:
        """The update of one chunk, in place: p and grad fp32, the moments bf16, all [n]."""
        b1, b2 = self.betas
        m = held_m.float().lerp_(grad, 1 - b1)
        v = held_v.float().mul_(b2).addcmul_(grad, grad, value=1 - b2)
        bits = torch.randint(
            -(2**31), 2**31, p.shape, dtype=torch.int32, generator=dice, device=p.device
        )
        # One draw serves both: its lower half m, its upper half v.
        held_m.copy_(rounded(m, bits & 0xFFFF))
        held_v.copy_(rounded(v, bits >> 16 & 0xFFFF))
        p.mul_(1 - lr * weight_decay)
        size = v.sqrt_().div_((1 - b2**self.steps) ** 0.5).add_(self.eps)
        p.addcdiv_(m, size, value=-lr / (1 - b1**self.steps))

    def state_dict(self) -> dict:
        """In the layout of torch.optim.AdamW's."""
        return {
            "state": {i: {"exp_avg": m, "exp_avg_sq": v} for i, (m, v) in enumerate(self.state)},
            "steps": self.steps,
        }

    def load_state_dict(self, found: dict) -> None:
        if found["state"].keys() != set(range(len(self.state))):
            raise ValueError("the states of another model")
        for i, held in enumerate(self.state):
            for ours, name in zip(held, ("exp_avg", "exp_avg_sq")):
                theirs = found["state"][i][name]
                if theirs.dtype != ours.dtype or theirs.shape != ours.shape:
                    raise ValueError(
                        f"state {i} is {theirs.dtype}, not {ours.dtype}, or of another shape"
                    )
                ours.copy_(theirs)
        self.steps = found["steps"]


def rounded(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Finite fp32 `x` to bf16, up with the probability of its distance from below; `noise` uniform
    on 0 .. 65535, int32.

    bf16 is the upper half of fp32's bits: noise in the lower half carries over as often as that
    half is large.
    """
    bits = x.view(torch.int32) + noise & -0x10000
    return bits.view(torch.float32).bfloat16()  # exact: the lower half is 0
