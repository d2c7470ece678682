"""What an optimizer step needs besides a loss: micro-batches, fp32 masters, and the device it runs on.

Shared by train.py and sft.py.
"""
import functools
from concurrent.futures import ThreadPoolExecutor

import torch

from adam import RoundedAdamW
from config import Refusal

IN_FLIGHT = 12  # gradients on their way to the CPU, a layer's: more would fill the GPU when the CPU is the slower side


def pick_device(name: str) -> tuple[torch.device, torch.dtype]:
    """(device, compute type): bf16 on a GPU, fp32 on a CPU."""
    if name not in ("auto", "cpu", "cuda"):
        raise Refusal(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise Refusal("--device cuda: this torch sees no CUDA GPU; use --device cpu")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return (torch.device("cuda"), torch.bfloat16) if cuda else (torch.device("cpu"), torch.float32)


def default_budget(device: torch.device) -> int:
    """Tokens of a micro-batch."""
    return 8192 if device.type == "cuda" else 2048


def micro_batches(lengths: list[int], token_budget: int, packed: bool = False) -> list[list[int]]:
    """Indices in batches of at most `token_budget` tokens; rows of like length stand together, the longest first.

    Padding is counted, unless the rows are `packed`. A row longer than the budget stands alone.
    """
    batches, used = [], 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # A padded row costs as much as the first of its batch, which is the longest.
        cost = lengths[i] if packed or not batches else lengths[batches[-1][0]]
        if batches and used + cost <= token_budget:
            batches[-1].append(i)
            used += cost
        else:
            batches.append([i])
            used = lengths[i]
    return batches


class MasterAdamW:
    """AdamW on fp32 masters, while the model may compute in bf16.

    With N(0, 0.02) weights and steps of 1e-6, 98 % of pure-bf16 weights would never move. The masters are the weights as
    the model comes; then the model is moved to `device` (default: where it is) and turned into `dtype`, one parameter
    after the other. An fp32 model that stays is its own master.

    offload: masters, gradient sums and AdamW's states are on the CPU, and so is the update; the device has the model.
    states: fp32 or bf16, the type of AdamW's two moments; `seed` is for the rounding to bf16.
    """

    def __init__(self, model, dtype: torch.dtype = torch.float32, betas=(0.9, 0.95), weight_decay: float = 0.0, device=None,
                 offload: bool = False, states: str = "fp32", seed: int = 0):
        weight, device = model.embed_tokens.weight, torch.device(device or model.device)
        own = dtype == weight.dtype == torch.float32 and device == weight.device and not offload
        self.names = [name for name, _ in model.named_parameters()]
        self.params = list(model.parameters())
        self.masters = self.params if own else [split(p, dtype, device, "cpu" if offload else device) for p in self.params]
        matrices, vectors = ([m for m in self.masters if (m.dim() > 1) == wanted] for wanted in (True, False))
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.adam = (RoundedAdamW(groups, betas, seed) if states == "bf16" else
                     torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True))
        if not own:
            for i, p in enumerate(self.params):
                p.register_post_accumulate_grad_hook(functools.partial(self.take, i))
        self.offload, self.jobs, self.staged = offload, {}, None
        if offload:
            self.pool = ThreadPoolExecutor(1)  # one thread, so that the sums have an order
        if offload and device.type == "cuda":
            # Gradients and weights pass through it: the only memory that is copied, and so the only one that is pinned.
            # One piece, because torch rounds each pinned piece up to a power of two.
            flat = torch.empty(sum(p.numel() for p in self.params), dtype=dtype, pin_memory=True)
            self.staged = [x.view(p.shape) for x, p in zip(flat.split([p.numel() for p in self.params]), self.params)]
            self.stream = torch.cuda.Stream(device)

    def named_masters(self) -> dict[str, torch.Tensor]:
        return {name: master.detach() for name, master in zip(self.names, self.masters)}

    def take(self, i: int, p) -> None:
        """Add a parameter's gradient to its master's in fp32, and free it: backward calls this as soon as it is there."""
        if self.offload:
            self.send(i, p)
        else:
            add(self.masters[i], p.grad)
        p.grad = None

    def send(self, i: int, p) -> None:
        """Copy a gradient to the CPU beside the backward pass, and have it added there."""
        while i in self.jobs or len(self.jobs) >= IN_FLIGHT:  # the oldest first
            self.jobs.pop(next(iter(self.jobs))).result()
        copied = None
        if self.staged:
            self.stream.wait_stream(torch.cuda.current_stream(p.device))
            with torch.cuda.stream(self.stream):
                self.staged[i].copy_(p.grad, non_blocking=True)
                copied = torch.cuda.Event(blocking=True)  # the job that waits for it sleeps
                copied.record()
        self.jobs[i] = self.pool.submit(self.receive, i, p.grad, copied)  # the job keeps the gradient until it is copied

    def receive(self, i: int, grad, copied) -> None:
        if copied:
            copied.synchronize()
        add(self.masters[i], self.staged[i] if copied else grad)

    def accumulate(self) -> None:
        """Take the gradients that no backward pass has handed over; call after each backward."""
        for i, (p, master) in enumerate(zip(self.params, self.masters)):
            if p is not master and p.grad is not None:
                self.take(i, p)

    def arrived(self) -> None:
        """Wait until all gradients are in their sums."""
        while self.jobs:
            self.jobs.pop(next(iter(self.jobs))).result()

    def drop_gradients(self) -> None:
        self.arrived()
        for p, master in zip(self.params, self.masters):
            p.grad = master.grad = None

    def step(self, lr: float, clip_norm: float) -> float:
        """Clip, step, refresh the model's copy in place; returns the gradient norm before clipping.

        On the CPU it could run beside the next sampling, which would then draw from the weights of before: it does not.
        """
        self.arrived()
        norm = torch.nn.utils.clip_grad_norm_(self.masters, clip_norm)
        if not torch.isfinite(norm):
            raise Refusal("the gradient is not finite: the weights are left as they were; lower --lr or --updates-per-step "
                          "and go on from the last checkpoint")
        for group in self.adam.param_groups:
            group["lr"] = lr
        try:
            self.adam.step()
        except torch.OutOfMemoryError:  # some weights may have moved: not to be repeated
            raise Refusal("out of GPU memory in AdamW: go on from the last checkpoint with --offload-optimizer") from None
        self.drop_gradients()
        with torch.no_grad():
            for i, (p, master) in enumerate(zip(self.params, self.masters)):
                if p is not master:
                    p.copy_(self.staged[i].copy_(master) if self.staged else master, non_blocking=True)
        return float(norm)


def split(p, dtype: torch.dtype, device, home) -> torch.Tensor:
    """Turn a parameter into its copy on `device` in `dtype`; returns its fp32 master, which stays at `home`."""
    master = p.detach().float().to(home)
    p.data = master.to(device, dtype, copy=True)
    return master


def add(master, grad) -> None:
    master.grad = grad.to(torch.float32, copy=True) if master.grad is None else master.grad.add_(grad)
