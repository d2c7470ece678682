"""The device that a program runs on, and what follows from it."""

import torch

from config import UserError


def pick_device(name: str) -> tuple[torch.device, torch.dtype]:
    """(device, compute type): bf16 on a GPU, fp32 on a CPU."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no CUDA GPU; use --device cpu")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return (torch.device("cuda"), torch.bfloat16) if cuda else (torch.device("cpu"), torch.float32)


def default_budget(device: torch.device) -> int:
    """Tokens of a micro-batch."""
    return 8192 if device.type == "cuda" else 2048
