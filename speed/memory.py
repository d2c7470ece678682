"""What a run keeps in memory, as tables: by model, by size of GPU, by recipe.

    python bench.py memory
    python bench.py memory --targets
    python bench.py memory --recipes

Everything is computed (engine/memory.py); nothing is measured and nothing is loaded.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from config import UserError, parse, read_toml, setting
from engine.memory import (
    Setup,
    cpu_gb,
    filled,
    flags,
    most_slots,
    parameters,
    parts,
    peak,
    setup_of,
    slimmer,
    token_kv_bytes,
)
from model import ModelConfig
from train import TrainConfig

RECIPES = Path(__file__).parent.parent / "recipes"

# The published config.json files.
SHAPES = {
    "qwen2.5-0.5b": ModelConfig(151936, 896, 4864, 24, 14, 2, tie_word_embeddings=True),
    "qwen2.5-1.5b": ModelConfig(151936, 1536, 8960, 28, 12, 2, tie_word_embeddings=True),
    "qwen2.5-3b": ModelConfig(151936, 2048, 11008, 36, 16, 2, tie_word_embeddings=True),
    "qwen2.5-7b": ModelConfig(152064, 3584, 18944, 28, 28, 4),
}

# Models, and the GB of GPUs that they are fitted into.
TARGETS = (
    ("qwen2.5-0.5b", (8, 12, 16, 24)),
    ("qwen2.5-1.5b", (8, 12, 16, 24, 48)),
    ("qwen2.5-3b", (12, 16, 24, 48)),
    ("qwen2.5-7b", (24, 48, 80)),
)
# What is fitted: a prompt of 512 and a response of 1,024 tokens, a GPU's default token budget.
UNFITTED = Setup(0, 512 + 1024, 8192)


@dataclass(frozen=True)
class MemoryConfig:
    """What the tables are computed for."""

    slots: int = setting(256, "rows that decode at a time")
    tokens: int = setting(1536, "prompt and response together, tokens a row")
    token_budget: int = setting(8192, "tokens of a micro-batch")
    gradient_checkpointing: bool = setting(False, "compute each layer anew in the backward pass")
    offload_optimizer: bool = setting(False, "masters, gradient sums and AdamW's states on the CPU")
    optimizer_states: str = setting("fp32", "type of AdamW's states", choices=("fp32", "bf16"))
    targets: bool = setting(
        False, "the flags that fit each model into a common size of GPU instead"
    )
    recipes: bool = setting(False, "what the published recipes need instead, with their hours")
    memory_gb: float = setting(80.0, "memory of the GPU, for the recipes")
    prompt_tokens: int = setting(256, "tokens of a prompt, for the recipes")
    bandwidth: float = setting(3e12, "bytes per second that a decode step reads, for the hours")
    rate: float = setting(4e14, "bf16 operations per second of matrix products, for the hours")

    def __post_init__(self):
        bounded = (
            self.slots,
            self.tokens,
            self.token_budget,
            self.memory_gb,
            self.prompt_tokens,
            self.bandwidth,
            self.rate,
        )
        if min(bounded) < 1:
            raise UserError(
                "--slots, --tokens, --token-budget, --prompt-tokens, --bandwidth, --rate and "
                "--memory-gb must be at least 1"
            )


# ---------------------------------------------------------------- by model and by GPU

COLUMNS = (
    "weights",
    "masters",
    "AdamW",
    "gradients",
    "activations",
    "logits",
    "KV cache",
    "sampler",
)
HEADS = "".join(f"  {name}" for name in COLUMNS) + "   peak"


def cells(shape: ModelConfig, setup: Setup) -> str:
    """The parts of a setup and the peak, GB, each below its head."""
    sizes = parts(shape, setup)
    shown = [f"{sizes[name]:>{len(name) + 2}.1f}" for name in COLUMNS]
    return "".join(shown) + f"{peak(shape, setup):>7.1f}"


def model_table(settings: MemoryConfig) -> str:
    """One line per model."""
    setup = Setup(
        slots=settings.slots,
        tokens=settings.tokens,
        token_budget=settings.token_budget,
        checkpointing=settings.gradient_checkpointing,
        offload=settings.offload_optimizer,
        states=settings.optimizer_states,
    )
    lines = [f"{'model':<14}{'parameters':>10}{HEADS}   GB, computed"]
    for name, shape in SHAPES.items():
        billions = parameters(shape) / 1e9
        lines.append(f"{name:<14}{billions:>8.2f} B{cells(shape, setup)}")
    return "\n".join(lines)


def target_table() -> str:
    """One line per model and size of GPU, with the cheapest flags that fit."""
    lines = [f"{'model':<14}{'GPU':>4}{'slots':>7}{'peak':>7}{'CPU':>6}   GB, computed; flags"]
    for name, sizes in TARGETS:
        for gb in sizes:
            lines.append(target_line(name, gb))
    return "\n".join(lines)


def target_line(name: str, gb: int) -> str:
    """One model in one size of GPU."""
    shape = SHAPES[name]
    setup = slimmer(shape, UNFITTED, gb, most_slots(gb))
    numbers = f"{setup.slots:>7}{peak(shape, setup):>7.1f}{cpu_gb(shape, setup):>6.0f}"
    added = " ".join(flags(UNFITTED, setup)) or "none"
    return f"{name:<14}{gb:>4}{numbers}   {added}"


# ---------------------------------------------------------------- by recipe


def shape_name(model: str) -> str | None:
    """The name in SHAPES of a Qwen2.5 hub id, Math and Instruct models included.

    None for any other model.
    """
    found = re.match(r"qwen/qwen2\.5-(?:math-)?(0\.5|1\.5|3|7)b(?:-|$)", model.lower())
    if not found:
        return None
    return f"qwen2.5-{found[1]}b"


def recipe_needs(recipe: TrainConfig, settings: MemoryConfig) -> tuple[str, Setup, float]:
    """(name of the shape, setup, hours) of a recipe."""
    name = shape_name(recipe.model)
    shape = SHAPES[name]
    budget = recipe.token_budget or settings.token_budget
    setup = setup_of(recipe, settings.prompt_tokens, budget)
    rollouts = recipe.prompts_per_step * recipe.group_size
    most = min(settings.slots, rollouts)
    setup = filled(shape, setup, settings.memory_gb, most)
    return name, setup, least_hours(recipe, shape, setup, settings)


def least_hours(
    recipe: TrainConfig, shape: ModelConfig, setup: Setup, settings: MemoryConfig
) -> float:
    """Hours of a recipe, a lower bound: the slower of memory and arithmetic, and nothing else.

    A decode step reads the weights and the live keys and values once, for min(slots, rollouts)
    rows; responses are half as long as they may be. The update does 6 operations a weight and
    token, 8 with checkpointing, on all rollouts; a critic of its own as many.
    """
    n = parameters(shape)
    rollouts = recipe.prompts_per_step * recipe.group_size
    response = recipe.max_new_tokens / 2  # the mean
    slots = max(1, setup.slots)
    live = slots * (settings.prompt_tokens + response / 2) * token_kv_bytes(shape)
    reading = (2 * n + live) / settings.bandwidth
    multiplying = 2 * n * slots / settings.rate
    sampling = rollouts * response / slots * max(reading, multiplying)
    operations = 8 if setup.checkpointing else 6
    if setup.critic:
        operations = 2 * operations + 2  # and its values before the update
    trained = settings.prompt_tokens / recipe.group_size + response  # a prompt once for its group
    update = operations * n * rollouts * trained / settings.rate
    return recipe.steps * (sampling + update) / 3600


def recipe_table(settings: MemoryConfig) -> str:
    """One line per published recipe.

    The embedded base needs no line, and of other models no shape is written here.
    """
    lines = [
        f"{'recipe':<23}{'shape':<14}{'steps':>6}{'rollouts':>9}{'longest':>8}{'slots':>6}{'GB':>6}"
        f"{'CPU GB':>8}{'hours, at least':>17}   computed"
    ]
    for path in sorted(RECIPES.glob("*.toml")):
        recipe = TrainConfig(**read_toml(str(path), TrainConfig))
        if shape_name(recipe.model) is None:
            continue
        name, setup, hours = recipe_needs(recipe, settings)
        shape = SHAPES[name]
        rollouts = recipe.prompts_per_step * recipe.group_size
        line = f"{path.stem:<23}{name:<14}{recipe.steps:>6}{rollouts:>9}"
        line += f"{recipe.max_new_tokens:>8}{setup.slots:>6}{peak(shape, setup):>6.0f}"
        line += f"{cpu_gb(shape, setup):>8.0f}{hours:>17.0f}"
        lines.append(line)
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(MemoryConfig, "what a training run keeps in memory, computed", argv)
    if settings.targets:
        print(target_table())
    elif settings.recipes:
        print(recipe_table(settings))
    else:
        print(model_table(settings))
