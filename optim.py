"""What an optimizer step needs besides a loss: micro-batches, fp32 masters, and the device it runs on.

Shared by train.py and sft.py.
"""
import torch

from config import Refusal


def pick_device(name: str) -> tuple[torch.device, torch.dtype]:
    """(device, compute type): bf16 on a GPU, fp32 on a CPU."""
    if name not in ("auto", "cpu", "cuda"):
        raise Refusal(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise Refusal("--device cuda: this torch sees no CUDA GPU; use --device cpu")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return (torch.device("cuda"), torch.bfloat16) if cuda else (torch.device("cpu"), torch.float32)


def micro_batches(lengths: list[int], token_budget: int) -> list[list[int]]:
    """Indices in batches of at most `token_budget` tokens, padding counted; rows of like length stand together.

    A row longer than the budget stands alone.
    """
    batches, order = [], sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= token_budget:
            batches[-1].append(i)
        else:
            batches.append([i])  # its first row is its longest: what the others are padded to
    return batches


class MasterAdamW:
    """AdamW on fp32 masters, while the model may compute in bf16.

    With N(0, 0.02) weights and steps of 1e-6, 98 % of pure-bf16 weights would never move. The masters are the weights as
    the model comes; then it is turned into `dtype`. An fp32 model that stays fp32 is its own master.
    """

    def __init__(self, model, dtype: torch.dtype = torch.float32, betas=(0.9, 0.95), weight_decay: float = 0.0):
        own = dtype == torch.float32 and model.embed_tokens.weight.dtype == torch.float32
        masters = None if own else [p.detach().float().clone() for p in model.parameters()]
        model.to(dtype)
        self.names = [name for name, _ in model.named_parameters()]
        self.params = list(model.parameters())
        self.masters = masters or self.params
        matrices, vectors = ([m for m in self.masters if (m.dim() > 1) == wanted] for wanted in (True, False))
        self.adam = torch.optim.AdamW([{"params": matrices, "weight_decay": weight_decay},
                                       {"params": vectors, "weight_decay": 0.0}], lr=0.0, betas=betas, fused=True)

    def named_masters(self) -> dict[str, torch.Tensor]:
        return {name: master.detach() for name, master in zip(self.names, self.masters)}

    def accumulate(self) -> None:
        """Add the model's gradients to the masters', in fp32; call after each backward."""
        for p, master in zip(self.params, self.masters):
            if p is not master and p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None

    def step(self, lr: float, clip_norm: float) -> float:
        """Clip, step, refresh the model's copy; returns the gradient norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.masters, clip_norm)
        if not torch.isfinite(norm):
            raise Refusal("the gradient is not finite: the weights are left as they were; lower --lr or --updates-per-step "
                          "and go on from the last checkpoint")
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        with torch.no_grad():
            for p, master in zip(self.params, self.masters):
                if p is not master:
                    p.copy_(master)
        return float(norm)
