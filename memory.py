"""What a training run keeps in memory, computed from the model's shape; nothing is measured and nothing is loaded.

    python memory.py
    python memory.py --recipes
"""
import re
from dataclasses import dataclass
from pathlib import Path

from config import Refusal, parse, read_toml, run, setting
from model import LOGITS_BYTES
from train import TrainConfig

# vocabulary, hidden, feed-forward, layers, heads, key/value heads, tied head: the published config.json files
SHAPES = {
    "qwen2.5-0.5b": (151936, 896, 4864, 24, 14, 2, True),
    "qwen2.5-1.5b": (151936, 1536, 8960, 28, 12, 2, True),
    "qwen2.5-3b": (151936, 2048, 11008, 36, 16, 2, True),
    "qwen2.5-7b": (152064, 3584, 18944, 28, 28, 4, False),
}


@dataclass(frozen=True)
class MemoryConfig:
    slots: int = setting(256, "rows that decode at a time")
    tokens: int = setting(1536, "prompt and response together, tokens a row")
    token_budget: int = setting(8192, "tokens of a micro-batch")
    recipes: bool = setting(False, "what the published recipes need instead, with their hours")
    prompt_tokens: int = setting(256, "tokens of a prompt, for the recipes")
    bandwidth: float = setting(3e12, "bytes per second that a decode step reads, for the hours")
    rate: float = setting(4e14, "bf16 operations per second of matrix products, for the hours")

    def __post_init__(self):
        if min(self.slots, self.tokens, self.token_budget, self.prompt_tokens, self.bandwidth, self.rate) < 1:
            raise Refusal("--slots, --tokens, --token-budget, --prompt-tokens, --bandwidth and --rate must be at least 1")


def parameters(shape: tuple) -> int:
    """The number of weights of a Qwen2 model."""
    V, C, F, L, H, K, tied = shape
    D = C // H
    attention = C * H * D + 2 * C * K * D + H * D * C + H * D + 2 * K * D  # q, k, v, o; biases of q, k, v
    return V * C * (1 if tied else 2) + L * (attention + 3 * C * F + 2 * C) + C


def parts(shape: tuple, slots: int, tokens: int, token_budget: int) -> list[float]:
    """GB (10^9 bytes) of the bf16 copy, masters, gradients, AdamW, KV cache, activations and logits of one model."""
    V, C, F, L, H, K, _ = shape
    n, D = parameters(shape), C // H
    return [size / 1e9 for size in (
        2 * n, 4 * n, (4 + 2) * n, 8 * n,  # gradients: fp32 sums and the bf16 ones of one micro-batch
        slots * tokens * L * 2 * K * D * 2,
        # kept for backward, bf16: two norms (in fp32 too), q, k, v, attention out and in, gate, up, silu, product
        token_budget * L * (2 * (6 * C + 2 * (H + K) * D + 4 * F) + 4 * 2 * C),
        # of one chunk of positions: bf16 logits; fp32 logits, log-softmax and its gradient
        min(token_budget, LOGITS_BYTES // (4 * V)) * V * (2 + 3 * 4))]


def table(c: MemoryConfig) -> str:
    """One line per model."""
    lines = [f"{'model':<14}{'parameters':>12}{'bf16 copy':>11}{'masters':>9}{'gradients':>11}{'AdamW':>8}{'KV cache':>10}"
             f"{'activations':>13}{'logits':>8}{'sum':>8}   GB, computed"]
    for name, shape in SHAPES.items():
        sizes = parts(shape, c.slots, c.tokens, c.token_budget)
        lines.append(f"{name:<14}{parameters(shape) / 1e9:>10.2f} B{sizes[0]:>11.1f}{sizes[1]:>9.1f}{sizes[2]:>11.1f}"
                     f"{sizes[3]:>8.1f}{sizes[4]:>10.1f}{sizes[5]:>13.1f}{sizes[6]:>8.1f}{sum(sizes):>8.1f}")
    return "\n".join(lines)


def shape_of(model: str) -> str | None:
    """The name in SHAPES of a Qwen2.5 hub id, Math and Instruct models included; None for any other."""
    found = re.match(r"qwen/qwen2\.5-(?:math-)?(0\.5|1\.5|3|7)b(?:-|$)", model.lower())
    return found and f"qwen2.5-{found[1]}b"


def recipe_needs(r: TrainConfig, c: MemoryConfig) -> tuple[str, float, float]:
    """(shape, GB, hours) of a recipe. Hours are a lower bound: the slower of memory and arithmetic, and nothing else.

    A decode step reads the weights and the live keys and values once, for min(slots, rollouts) rows; responses are half
    as long as they may be. The update does 6 operations a weight and token, on all rollouts.
    """
    name = shape_of(r.model)
    shape = SHAPES[name]
    V, C, F, L, H, K, _ = shape
    n, mean, rollouts = parameters(shape), r.max_new_tokens / 2, r.prompts_per_step * r.group_size
    slots = min(c.slots, rollouts)
    live = slots * (c.prompt_tokens + mean / 2) * L * 2 * K * (C // H) * 2
    sample = rollouts * mean / slots * max((2 * n + live) / c.bandwidth, 2 * n * slots / c.rate)
    update = 6 * n * rollouts * (c.prompt_tokens + mean) / c.rate
    gb = sum(parts(shape, slots, c.prompt_tokens + r.max_new_tokens, r.token_budget or c.token_budget))
    if r.kl_coef:
        gb += 2 * n / 1e9  # the reference model
    return name, gb, r.steps * (sample + update) / 3600


def recipes(c: MemoryConfig) -> str:
    """One line per published recipe."""
    lines = [f"{'recipe':<20}{'shape':<14}{'steps':>6}{'rollouts':>10}{'longest':>9}{'GB':>7}{'hours, at least':>17}"
             "   computed"]
    for path in sorted((Path(__file__).parent / "recipes").glob("*.toml")):
        r = TrainConfig(**read_toml(str(path), TrainConfig))
        if shape_of(r.model):  # the embedded base needs no table, and of other models no shape is written here
            name, gb, hours = recipe_needs(r, c)
            lines.append(f"{path.stem:<20}{name:<14}{r.steps:>6}{r.prompts_per_step * r.group_size:>10}{r.max_new_tokens:>9}"
                         f"{gb:>7.0f}{hours:>17.0f}")
    return "\n".join(lines)


def main():
    c, _ = parse(MemoryConfig, "what a training run keeps in memory, computed")
    print(recipes(c) if c.recipes else table(c))


if __name__ == "__main__":
    run(main)
