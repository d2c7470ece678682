"""What a training run keeps in memory, computed from the model's shape; nothing is measured and nothing is loaded.

    python memory.py
    python memory.py --targets
    python memory.py --recipes

A step has two phases. Weights, masters, AdamW's states and the reference model are there in both; the sampler's logits
only while it samples; gradients, activations and the trainer's logits only in the update. The peak is the larger phase.
The KV cache stays for the update where there is room for both (`resident`), because the sampler's graphs go with it;
otherwise it is given back. `train.py` fills it with what a phase of sampling leaves free, and refuses what cannot fit.

GB are 10^9 bytes. C hidden size, F feed-forward size, V vocabulary, L layers, H heads, K key/value heads, D head size.
"""
import functools
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from config import Refusal, parse, read_toml, run, setting
from model import LOGITS_BYTES, ModelConfig, Transformer

SHAPES = {  # the published config.json files
    "qwen2.5-0.5b": ModelConfig(151936, 896, 4864, 24, 14, 2, tie_word_embeddings=True),
    "qwen2.5-1.5b": ModelConfig(151936, 1536, 8960, 28, 12, 2, tie_word_embeddings=True),
    "qwen2.5-3b": ModelConfig(151936, 2048, 11008, 36, 16, 2, tie_word_embeddings=True),
    "qwen2.5-7b": ModelConfig(152064, 3584, 18944, 28, 28, 4),
}
CONTEXT = 0.6e9  # bytes that the CUDA context and its kernels take outside of torch's allocator
WORKSPACE = 0.1e9  # bytes that cuBLAS takes inside of it
USABLE = 0.95  # of the memory: the allocator's blocks leave gaps
SAMPLER_LOGITS = 14  # bytes a slot and id: bf16 logits, fp32 weights, 1 for sums; once for graphs, once to warm up
PREFILL_TOKENS = 16384  # of sample.generate


@dataclass(frozen=True)
class Setup:
    """What the size of a run depends on besides the model's shape."""
    slots: int  # rows that decode at a time
    tokens: int  # the longest row: prompt and response
    token_budget: int  # tokens of a micro-batch
    checkpointing: bool = False
    offload: bool = False
    states: str = "fp32"  # of AdamW
    reference: bool = False
    width: int = 2  # bytes of the compute type; at 4 the weights are their own masters
    resident: bool = False  # the KV cache stays during the update


@functools.lru_cache
def parameters(c: ModelConfig) -> int:
    """The number of weights."""
    with torch.device("meta"):
        return sum(p.numel() for p in Transformer(c).parameters())


def layer_bytes(c: ModelConfig, width: int = 2) -> int:
    """What a token leaves behind in one layer for backward."""
    C, heads, keys = c.hidden_size, c.num_attention_heads * c.head_size, c.num_key_value_heads * c.head_size
    # fp32 in, fp32 scaled, out: what a CPU's norm keeps. A GPU's fused one keeps less.
    norms = 2 * (8 + width) * C + (c.model_type == "qwen3") * 8 * (heads + keys)
    # q and k rotated, the product that v is a part of, attention's output and its log-sum
    attention = width * 3 * (heads + keys) + 4 * c.num_attention_heads
    return norms + attention + 4 * width * c.intermediate_size  # gate, up, silu and their product


def update_bytes(c: ModelConfig, s: Setup) -> tuple[float, float]:
    """(activations, logits and gradients in flight) at the largest moment of the backward pass."""
    C, F, V, w = c.hidden_size, c.intermediate_size, c.vocab_size, s.width
    N, layer, head = max(s.token_budget, s.tokens), layer_bytes(c, w), w * V * C  # a row above the budget stands alone
    kept = N * c.num_hidden_layers * (w * C if s.checkpointing else layer)
    ends = N * (4 + 3 * w) * C  # the last norm, and the response positions
    chunk = min(N, LOGITS_BYTES // (4 * V)) * V
    # Log-probs and two gradients of them; the sum of the head's gradients, a chunk's own and (autograd's way) the new sum.
    in_head = max(3 * 4 * chunk + head, 3 * head)
    n, tied = parameters(c), c.tie_word_embeddings
    flight = w * (n - (1 if tied else 2) * V * C) / c.num_hidden_layers if s.offload else w * F * C
    waits = head if tied or s.offload else 0  # the head's gradient: for the embedding's, or on its way to the CPU
    in_layer = N * (2 * F + 6 * C) * w / 2 + s.checkpointing * N * layer + waits + flight
    activations = kept + ends + (in_layer - flight - waits if in_layer > in_head else 0)
    return activations, in_head if in_head >= in_layer else waits + flight


def parts(c: ModelConfig, s: Setup) -> dict[str, float]:
    """GB on the GPU by part."""
    n, F, w, own = parameters(c), c.intermediate_size, s.width, s.width == 4
    kv = 2 * w * c.num_hidden_layers * c.num_key_value_heads * c.head_size  # bytes a token
    activations, logits = update_bytes(c, s)
    home = 0 if s.offload else 1
    prefill = PREFILL_TOKENS * (2 * kv + 3 * w * F + (4 + 2 * w) * c.hidden_size)
    return {name: size / 1e9 for name, size in {
        "weights": w * n, "masters": home * (0 if own else 4 * n), "AdamW": home * (4 if s.states == "bf16" else 8) * n,
        "reference": s.reference * w * n, "KV cache": s.slots * s.tokens * kv,
        "sampler": max(s.slots * c.vocab_size * SAMPLER_LOGITS, prefill),
        "gradients": home * 4 * n, "activations": activations, "logits": logits,
        "context": 0 if own else CONTEXT + WORKSPACE}.items()}  # fp32 computes on a CPU


def phases(c: ModelConfig, s: Setup) -> tuple[float, float]:
    """GB on the GPU (while sampling, in the update)."""
    p = parts(c, s)
    both = p["weights"] + p["masters"] + p["AdamW"] + p["reference"] + p["context"]
    kept = s.resident * (p["KV cache"] + p["sampler"])
    return both + p["KV cache"] + p["sampler"], both + kept + p["gradients"] + p["activations"] + p["logits"]


def cpu_gb(c: ModelConfig, s: Setup) -> float:
    """GB of the computer's memory that --offload-optimizer takes: masters, sums, states, and the pinned way there."""
    n = parameters(c)
    pinned = 2 ** math.ceil(math.log2(s.width * n))  # torch rounds it up
    return s.offload * ((4 + 4 + (4 if s.states == "bf16" else 8)) * n + pinned) / 1e9


def filled(c: ModelConfig, s: Setup, gb: float, most: int) -> Setup:
    """The setup with as many slots as fit, at most `most`; 0 if not even one does."""
    fitting = (n for n in range(most, 0, -1) if phases(c, replace(s, slots=n))[0] <= USABLE * gb)
    return replace(s, slots=next(fitting, 0))


# ---------------------------------------------------------------- before a run starts

def plan(c: ModelConfig, s: Setup, gb: float, most: int) -> Setup:
    """The setup that a run uses in `gb`: slots 0 become what fits, at most `most`; the cache stays if it can.

    Refusal names the flag to change.
    """
    filled_up = filled(c, s, gb, most)
    if phases(c, s)[1] > USABLE * gb or not filled_up.slots:
        raise Refusal(f"this needs {max(phases(c, replace(s, slots=s.slots or 1))):.1f} GB of GPU memory (computed), "
                      f"{USABLE * gb:.1f} can be used: {remedy(c, s, gb)}; `python memory.py` has the parts")
    if s.slots > filled_up.slots and phases(c, s)[0] > USABLE * gb:
        raise Refusal(f"--slots {s.slots}: {filled_up.slots} fit into {USABLE * gb:.1f} GB of GPU memory (computed); "
                      "0 takes what fits")
    staying = replace(s if s.slots else filled_up, resident=True)
    return replace(staying, resident=max(phases(c, staying)) <= USABLE * gb)


def remedy(c: ModelConfig, s: Setup, gb: float) -> str:
    """The flags that make a run fit, the cheapest first."""
    less, checked, away = dict(token_budget=s.tokens), dict(checkpointing=True), dict(offload=True)
    for flags, change in ((f"lower --token-budget, to {s.tokens} at the least", less),
                          ("add --gradient-checkpointing", checked), ("add --offload-optimizer", away),
                          ("add --gradient-checkpointing and --offload-optimizer", checked | away),
                          (f"add --gradient-checkpointing and --offload-optimizer, lower --token-budget to {s.tokens}",
                           checked | away | less)):
        changed = replace(s, **change, slots=1)
        if max(phases(c, changed)) <= USABLE * gb and changed != replace(s, slots=1):
            return flags
    return "no flag is enough, take a smaller --model or --max-new-tokens"


def described(c: ModelConfig, s: Setup, gb: float | None) -> str:
    """One line: what a run will take."""
    shown = ", ".join(f"{name} {size:.1f}" for name, size in parts(c, s).items() if size >= 0.05)
    away = f"; {cpu_gb(c, s):.0f} GB on the CPU" if s.offload else ""
    sampling, update = phases(c, s)
    return (f"memory (GB, computed): {shown}; sampling {sampling:.1f}, update {update:.1f}"
            f"{f' of {gb:.1f}' if gb else ''}{away}; {s.slots} slots of {s.tokens} tokens, token budget {s.token_budget}")


# ---------------------------------------------------------------- the tables

@dataclass(frozen=True)
class MemoryConfig:
    slots: int = setting(256, "rows that decode at a time")
    tokens: int = setting(1536, "prompt and response together, tokens a row")
    token_budget: int = setting(8192, "tokens of a micro-batch")
    gradient_checkpointing: bool = setting(False, "compute each layer anew in the backward pass")
    offload_optimizer: bool = setting(False, "masters, gradient sums and AdamW's states on the CPU")
    optimizer_states: str = setting("fp32", "type of AdamW's states", choices=("fp32", "bf16"))
    targets: bool = setting(False, "the flags that fit each model into a common size of GPU instead")
    recipes: bool = setting(False, "what the published recipes need instead, with their hours")
    memory_gb: float = setting(80.0, "memory of the GPU, for the recipes")
    prompt_tokens: int = setting(256, "tokens of a prompt, for the recipes")
    bandwidth: float = setting(3e12, "bytes per second that a decode step reads, for the hours")
    rate: float = setting(4e14, "bf16 operations per second of matrix products, for the hours")

    def __post_init__(self):
        if min(self.slots, self.tokens, self.token_budget, self.memory_gb, self.prompt_tokens, self.bandwidth,
               self.rate) < 1:
            raise Refusal("--slots, --tokens, --token-budget, --prompt-tokens, --bandwidth, --rate and --memory-gb must be "
                          "at least 1")


COLUMNS = ("weights", "masters", "AdamW", "gradients", "activations", "logits", "KV cache", "sampler")


def cells(c: ModelConfig, s: Setup) -> str:
    """The parts of a setup and the peak, GB."""
    sizes = parts(c, s)
    return "".join(f"{sizes[name]:>{len(name) + 2}.1f}" for name in COLUMNS) + f"{max(phases(c, s)):>7.1f}"


HEADS = "".join(f"  {name}" for name in COLUMNS) + "   peak"


def table(c: MemoryConfig) -> str:
    """One line per model."""
    lines = [f"{'model':<14}{'parameters':>10}{HEADS}   GB, computed"]
    for name, shape in SHAPES.items():
        s = Setup(c.slots, c.tokens, c.token_budget, c.gradient_checkpointing, c.offload_optimizer, c.optimizer_states)
        lines.append(f"{name:<14}{parameters(shape) / 1e9:>8.2f} B{cells(shape, s)}")
    return "\n".join(lines)


# Shape, GB of the GPU, and a setup for a prompt of 512 and a response of 1,024 tokens; slots 0: as many as fit.
TARGETS = (("qwen2.5-0.5b", 8, Setup(0, 1536, 8192, checkpointing=True, offload=True)),
           ("qwen2.5-1.5b", 24, Setup(0, 1536, 16384, checkpointing=True, offload=True)),
           ("qwen2.5-3b", 48, Setup(0, 1536, 32768, checkpointing=True, offload=True)),
           ("qwen2.5-7b", 80, Setup(0, 1536, 32768, checkpointing=True, offload=True)))


def targets() -> str:
    """One line per model and size of GPU."""
    lines = [f"{'model':<14}{'GPU':>4}{'slots':>7}{'budget':>8}{HEADS}{'CPU':>6}   GB, computed"]
    for name, gb, s in TARGETS:
        shape = SHAPES[name]
        s = filled(shape, s, gb, 256)
        lines.append(f"{name:<14}{gb:>4}{s.slots:>7}{s.token_budget:>8}{cells(shape, s)}{cpu_gb(shape, s):>6.0f}")
    return "\n".join(lines)


def shape_of(model: str) -> str | None:
    """The name in SHAPES of a Qwen2.5 hub id, Math and Instruct models included; None for any other."""
    found = re.match(r"qwen/qwen2\.5-(?:math-)?(0\.5|1\.5|3|7)b(?:-|$)", model.lower())
    return found and f"qwen2.5-{found[1]}b"


def recipe_needs(r, c: MemoryConfig) -> tuple[str, Setup, float]:
    """(shape, setup, hours) of a recipe. Hours are a lower bound: the slower of memory and arithmetic, and nothing else.

    A decode step reads the weights and the live keys and values once, for min(slots, rollouts) rows; responses are half
    as long as they may be. The update does 6 operations a weight and token, 8 with checkpointing, on all rollouts.
    """
    name = shape_of(r.model)
    shape = SHAPES[name]
    s = setup(r, c.prompt_tokens, r.token_budget or c.token_budget)
    rollouts, n, mean = r.prompts_per_step * r.group_size, parameters(shape), r.max_new_tokens / 2
    s = filled(shape, s, c.memory_gb, min(c.slots, rollouts))
    slots, kv = max(1, s.slots), 4 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_size
    live = slots * (c.prompt_tokens + mean / 2) * kv
    sample = rollouts * mean / slots * max((2 * n + live) / c.bandwidth, 2 * n * slots / c.rate)
    update = (8 if s.checkpointing else 6) * n * rollouts * (c.prompt_tokens + mean) / c.rate
    return name, s, r.steps * (sample + update) / 3600


def setup(c, prompt_tokens: int, token_budget: int, width: int = 2) -> Setup:
    """The setup of a train.TrainConfig; slots as they stand there."""
    return Setup(c.slots, prompt_tokens + c.max_new_tokens, token_budget, c.gradient_checkpointing, c.offload_optimizer,
                 c.optimizer_states, c.kl_coef != 0, width)


def recipes(c: MemoryConfig) -> str:
    """One line per published recipe."""
    from train import TrainConfig  # here, because train.py imports this file
    lines = [f"{'recipe':<18}{'shape':<14}{'steps':>6}{'rollouts':>9}{'longest':>8}{'slots':>6}{'GB':>6}{'CPU GB':>8}"
             f"{'hours, at least':>17}   computed"]
    for path in sorted((Path(__file__).parent / "recipes").glob("*.toml")):
        r = TrainConfig(**read_toml(str(path), TrainConfig))
        if shape_of(r.model):  # the embedded base needs no table, and of other models no shape is written here
            name, s, hours = recipe_needs(r, c)
            lines.append(f"{path.stem:<18}{name:<14}{r.steps:>6}{r.prompts_per_step * r.group_size:>9}{r.max_new_tokens:>8}"
                         f"{s.slots:>6}{max(phases(SHAPES[name], s)):>6.0f}{cpu_gb(SHAPES[name], s):>8.0f}{hours:>17.0f}")
    return "\n".join(lines)


def main():
    c, _ = parse(MemoryConfig, "what a training run keeps in memory, computed")
    print(targets() if c.targets else recipes(c) if c.recipes else table(c))


if __name__ == "__main__":
    run(main)
