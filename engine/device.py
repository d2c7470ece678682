"""The device that a program runs on, the type that it computes in, and what follows from them."""

import torch

from config import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# On a CPU with bf16 products, models that are narrower than this gain nothing by them
# (docs/speed.md has a step's time by width).
WIDE = 256


def pick_device(name: str) -> torch.device:
    """The device of `--device auto | cpu | cuda`."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no CUDA GPU; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


def pick_dtype(name: str, device: torch.device, hidden_size: int) -> tuple[torch.dtype, str]:
    """(compute type, why) of `--dtype auto | fp32 | bf16` for a model of this width.

    Weights are kept in fp32 beside it wherever they are trained.
    """
    if name != "auto":
        return DTYPES[name], "as --dtype says"
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16, "this GPU multiplies bf16"
        return torch.float32, "this GPU is older than Ampere and multiplies no bf16"
    if not torch.cpu._is_avx512_bf16_supported():
        return torch.float32, "this CPU multiplies no bf16"
    if hidden_size < WIDE:
        return (
            torch.float32,
            f"this CPU multiplies bf16, but a width of {hidden_size} gains nothing",
        )
    return torch.bfloat16, "this CPU multiplies bf16, and the model is wide enough to gain"


def default_budget(device: torch.device) -> int:
    """Tokens of a micro-batch."""
    return 8192 if device.type == "cuda" else 2048
