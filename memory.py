"""What a training run keeps in memory, computed from the model's shape; nothing is measured and nothing is loaded.

    python memory.py
"""
from dataclasses import dataclass

from config import Refusal, parse, run, setting
from model import LOGITS_BYTES

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

    def __post_init__(self):
        if min(self.slots, self.tokens, self.token_budget) < 1:
            raise Refusal("--slots, --tokens and --token-budget must be at least 1")


def parameters(shape: tuple) -> int:
    """The number of weights of a Qwen2 model."""
    V, C, F, L, H, K, tied = shape
    D = C // H
    attention = C * H * D + 2 * C * K * D + H * D * C + H * D + 2 * K * D  # q, k, v, o; biases of q, k, v
    return V * C * (1 if tied else 2) + L * (attention + 3 * C * F + 2 * C) + C


def table(c: MemoryConfig) -> str:
    """One line per model: GB (10^9 bytes) of weights and optimizer, of the KV cache, of a micro-batch."""
    lines = [f"{'model':<14}{'parameters':>12}{'bf16 copy':>11}{'masters':>9}{'gradients':>11}{'AdamW':>8}{'KV cache':>10}"
             f"{'activations':>13}{'logits':>8}{'sum':>8}   GB, computed"]
    for name, shape in SHAPES.items():
        V, C, F, L, H, K, _ = shape
        n, D = parameters(shape), C // H
        parts = [2 * n, 4 * n, (4 + 2) * n, 8 * n,  # gradients: fp32 sums and the bf16 ones of one micro-batch
                 c.slots * c.tokens * L * 2 * K * D * 2,
                 # kept for backward, bf16: two norms (in fp32 too), q, k, v, attention out and in, gate, up, silu, product
                 c.token_budget * L * (2 * (6 * C + 2 * (H + K) * D + 4 * F) + 4 * 2 * C),
                 # of one chunk of positions: bf16 logits; fp32 logits, log-softmax and its gradient
                 min(c.token_budget, LOGITS_BYTES // (4 * V)) * V * (2 + 3 * 4)]
        sizes = [p / 1e9 for p in parts]
        lines.append(f"{name:<14}{n / 1e9:>10.2f} B{sizes[0]:>11.1f}{sizes[1]:>9.1f}{sizes[2]:>11.1f}{sizes[3]:>8.1f}"
                     f"{sizes[4]:>10.1f}{sizes[5]:>13.1f}{sizes[6]:>8.1f}{sum(sizes):>8.1f}")
    return "\n".join(lines)


def main():
    c, _ = parse(MemoryConfig, "what a training run keeps in memory, computed")
    print(table(c))


if __name__ == "__main__":
    run(main)
