"""The device that a program runs on, the type that it computes in, and what follows from them."""

import torch

from config import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# On a CPU with bf16 products, models that are narrower than this gain nothing by them
# (docs/speed.md has a step's time by width).
WIDE = 256
OLDER = "this GPU is older than Ampere and multiplies no bf16"


def pick_device(name: str) -> torch.device:
    """The device of `--device auto | cpu | cuda`."""
    if name == "mps":
        raise UserError(
            "--device mps: drawing adds up in fp64, which MPS has not; use --device cpu"
        )
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no CUDA GPU; use --device cpu")
    if name == "auto":
        return best_device()
    return torch.device(name)


def best_device() -> torch.device:
    """What --device auto is: a CUDA GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(name: str, device: torch.device, hidden_size: int) -> tuple[torch.dtype, str]:
    """(compute type, why) of `--dtype auto | fp32 | bf16` for a model of this width.

    Weights are kept in fp32 beside it wherever they are trained.
    """
    if name == "bf16" and device.type == "cuda" and not multiplies_bf16():
        return DTYPES[name], f"as --dtype says, but {OLDER}: --dtype fp32 is faster"
    if name != "auto":
        return DTYPES[name], "as --dtype says"
    if device.type == "cuda":
        if multiplies_bf16():
            return torch.bfloat16, "this GPU multiplies bf16"
        return torch.float32, f"{OLDER}, and has no kernel for packed rows"
    if not torch.cpu._is_avx512_bf16_supported():
        return torch.float32, "this CPU multiplies no bf16"
    if hidden_size < WIDE:
        return (
            torch.float32,
            f"this CPU multiplies bf16, but a width of {hidden_size} gains nothing",
        )
    return torch.bfloat16, "this CPU multiplies bf16, and the model is wide enough to gain"


def multiplies_bf16() -> bool:
    """Whether the GPU has products in bf16: Turing and older ones, as T4 and V100, emulate them."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def on_device(values, device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Numbers of Python as a tensor on a device, on its way there while the host goes on."""
    tensor = torch.tensor(values, dtype=dtype)
    if torch.device(device).type == "cuda":
        # From other memory than pinned the host would wait until the GPU has come so far.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def default_budget(device: torch.device) -> int:
    """Tokens of a micro-batch."""
    return 8192 if device.type == "cuda" else 2048
