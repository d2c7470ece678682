"""Supervised training on (prompt, response) pairs.

It makes the embedded base, and it is the supervised stages of R1: cold start, rejection sampling,
distillation (docs/supervised.md).

    python sft.py --from-scratch --out base    # the mixture in tasks/traces.py, new weights
    python sft.py --model base --data pairs.jsonl --out tuned
    python sft.py --model MODEL --task words:1-2 --template chat --steps 20 --rows 16 --lr 1e-4

    python eval.py --model TEACHER --split train --n 2048 --save responses.jsonl
    python sft.py --model base --data responses.jsonl --keep right --epochs 2 --out tuned

The loss is the mean negative log-likelihood of the response tokens, the stop token included; the
prompt is not trained. Which responses of a file are kept is the business of evaluation/keeping.py.
"""

import json
import math
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from tqdm import tqdm

import model as lm
import tasks
from config import NotFinite, UserError, check_settings, parse, run_program, setting
from engine.batches import micro_batches
from engine.device import DTYPES, pick_device, pick_dtype
from engine.optimizer import MasterAdamW
from evaluation import keeping
from storage import model_folder
from storage.folders import check_link, claimed
from tasks import traces
from tasks.order import Source, rows_of_steps, rows_per_epoch
from tasks.pairs import Row, encode_pairs
from tasks.traces import TASK_SHARE

# Headings of --help.
CHOICE = "which rows of --data are kept"


@dataclass(frozen=True)
class SFTConfig:
    """The settings of a supervised training."""

    recipe: str | None = setting(None, "TOML file of settings; flags beat it")
    out: str = setting("tuned", "folder for the trained model")
    from_scratch: bool = setting(
        False, "make the embedded base: new tokenizer, new weights, generated traces"
    )
    model: str = setting("base", "model folder or hub id to start from")
    data: str | None = setting(
        None,
        "file of pairs (JSON lines, a JSON array, parquet), or one that eval.py --save wrote; "
        "without it, traces are generated",
    )
    task: str | None = setting(
        None, "task of the generated traces, as words:1-2; without it, the embedded base's mixture"
    )
    template: str | None = setting(
        None,
        "prompt template: of generated traces, by default short; of a file of eval.py --save, by "
        "default its own; of pairs, which by default have theirs in the prompt",
        choices=tuple(tasks.TEMPLATES),
    )
    prompt_field: str = setting(
        "prompt",
        "field of --data that holds the whole prompt, or the question that --template wraps",
    )
    response_field: str = setting(
        "response", "field of --data that holds the response, without the stop token"
    )
    mix: tuple[str, ...] = setting(
        (),
        "FILE:SHARE, this share of the rows from another file or from a task (kk:0.2), the rest "
        "from --data; may be given more than once",
    )
    keep: str = setting(
        "all",
        "all complete responses, or the right ones of a file of eval.py --save",
        choices=keeping.KEEP,
        group=CHOICE,
    )
    per_problem: int = setting(0, "rows per problem at most; 0: all", at_least=0, group=CHOICE)
    prefer: str = setting(
        "drawn",
        "which ones --per-problem keeps: in the order in which they were drawn, or the shortest",
        choices=keeping.PREFER,
        group=CHOICE,
    )
    max_response_tokens: int = setting(
        0, "longest response, tokens without the stop token; 0: any", at_least=0, group=CHOICE
    )
    min_language: float = setting(
        0.0,
        "least share of the thinking's words that are in Latin letters, as the reward r1_language "
        "counts them; 0: off",
        at_least=0,
        group=CHOICE,
    )
    max_paragraph: int = setting(
        0, "longest paragraph of the thinking, words; 0: any", at_least=0, group=CHOICE
    )
    drop_code: bool = setting(False, "leave out responses with a block of code", group=CHOICE)
    validation: float = setting(
        0.0,
        "share of the problems of --data that is not trained on; their loss is measured before, "
        "at each save and at the end",
        at_least=0,
        below=1,
    )
    steps: int = setting(8000, "optimizer steps, if --epochs is 0", at_least=1)
    epochs: int = setting(
        0,
        "times that each row of --data is trained on, in a new order each; 0: --steps steps of "
        "rows drawn with replacement",
        at_least=0,
    )
    rows: int = setting(96, "pairs per step", at_least=1)
    token_budget: int = setting(2048, "tokens per micro-batch, padding included", at_least=1)
    lr: float = setting(
        2e-3, "peak learning rate: linear warm-up, then a cosine down to --lr-floor", at_least=0
    )
    lr_floor: float = setting(0.1, "share of the peak learning rate at the end", at_least=0)
    warmup: int = setting(200, "steps of warm-up", at_least=0)
    weight_decay: float = setting(0.05, "AdamW's decoupled weight decay", at_least=0)
    clip_norm: float = setting(1.0, "largest gradient norm", above=0)
    save_every: int = setting(1000, "steps between saves of --out", at_least=1)
    seed: int = setting(0, "seed of weights and data")
    device: str = setting("auto", "auto, cpu or cuda")
    dtype: str = setting("auto", "compute type: auto, fp32 or bf16", choices=("auto", *DTYPES))
    gradient_checkpointing: bool = setting(
        False, "keep of each layer its input alone, compute it anew in backward"
    )
    offload_optimizer: bool = setting(
        False, "masters, gradient sums and AdamW on the CPU; the GPU keeps bf16 weights"
    )

    def __post_init__(self):
        check_settings(self)
        for name in ("lr_floor", "min_language"):
            if getattr(self, name) > 1:
                raise UserError(f"--{name.replace('_', '-')} is a share: at most 1")
        read_mix(self.mix)
        check_choice(self)
        if self.data and self.task:
            raise UserError("--data and --task: choose one of them")
        if self.from_scratch and self.model != type(self).model:
            raise UserError("--from-scratch makes new weights: leave out --model")


def check_choice(settings: SFTConfig) -> None:
    """Refuse settings of a file where there is none, and a preference that decides nothing."""
    if settings.prefer != "drawn" and not settings.per_problem:
        raise UserError("--prefer says which rows --per-problem keeps: give both")
    if settings.data:
        return
    for field in fields(settings):
        of_file = field.metadata.get("group") == CHOICE or field.name in ("epochs", "validation")
        if of_file and getattr(settings, field.name) != field.default:
            flag = field.name.replace("_", "-")
            raise UserError(f"--{flag} is about the rows of a file: name it with --data")


def read_mix(texts: tuple[str, ...]) -> list[tuple[str, float]]:
    """(file or task, share) of each --mix; UserError if a share is none, or if nothing is left."""
    mixed = []
    for text in texts:
        name, _, number = text.rpartition(":")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not name or not 0 < share < 1:
            raise UserError(f"--mix {text}: write FILE:SHARE, a share between 0 and 1 (kk:0.2)")
        mixed.append((name, share))
    if sum(share for _, share in mixed) >= 1:
        raise UserError(
            "--mix: the shares leave no rows for the rest; they must sum to less than 1"
        )
    return mixed


# ---------------------------------------------------------------- the embedded base

# 0.83 M parameters. One key/value head, because attention to the cache is what a decode step waits
# for.
BASE_SHAPE = dict(
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=1,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
)


def new_tokenizer():
    """A byte-level BPE of a few hundred words, with whole numbers and tags as tokens.

    Each number from 10 to 100 is one token, and each tag. The BPE is built inside Qwen2's own
    pre-tokenizer, because transformers puts that one around the vocabulary of any folder of
    model_type qwen2, whatever its tokenizer.json says. That one splits numbers into digits, so
    whole numbers are added tokens, which are found first; `single_word` keeps 1234 from being read
    as 12, 34.
    """
    from tokenizers import AddedToken, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    # Its normaliser and pre-tokenizer, to train merges inside.
    shell = Qwen2Tokenizer(vocab={}, merges=[])._tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=20,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    shell.train_from_iterator(tokenizer_texts(), trainer)
    bpe = json.loads(shell.to_str())["model"]
    merges = [tuple(merge) for merge in bpe["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=bpe["vocab"], merges=merges)
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False)])
    for number in range(10, tasks.LARGEST + 1):
        token = AddedToken(str(number), single_word=True, normalized=False, special=False)
        tokenizer.add_tokens([token])
    return tokenizer


def tokenizer_texts() -> list[str]:
    """What the merges are learned from.

    The words of questions and traces, with and without a space before them, and the operators.
    """
    rng = random.Random(0)
    prose = []
    for task in TASK_SHARE:
        for problem in tasks.make_problems(task, "train", "words", 150):
            prose.append(problem.question)
            for habit in traces.MIXTURE:
                prose.append(traces.trace(problem, habit, rng))
    texts = []
    for word in re.findall("[A-Za-z]+", " ".join(prose)):
        texts += [word, " " + word]
    return texts + [" +", " -", " *", " /."] * 99


def new_model(shape: dict, tokenizer, seed: int) -> lm.Transformer:
    """Random weights N(0, 0.02).

    What writes into the residual stream is smaller by the square root of its depth.
    """
    torch.manual_seed(seed % 2**64)
    size = -(-len(tokenizer) // 16) * 16  # a round number of rows
    model = lm.Transformer(lm.ModelConfig(vocab_size=size, **shape))
    depth = 2 * model.config.num_hidden_layers
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            std = 0.02
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std = 0.02 / math.sqrt(depth)
            torch.nn.init.normal_(parameter, std=std)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    model.stop_ids = (tokenizer.eos_token_id,)
    return model


# ---------------------------------------------------------------- where rows come from


def open_sources(settings: SFTConfig, model, tokenizer) -> tuple[list[Source], list[Row]]:
    """(the sources, --data or the generated traces first; the rows of the validation)."""
    mixed = read_mix(settings.mix)
    share = 1 - sum(part for _, part in mixed)
    avoid = frozenset()
    validation = []
    if settings.data:
        kept = keeping.read(settings.data, settings, tokenizer)
        if settings.validation:
            avoid = keeping.for_validation(kept, settings.validation, settings.seed)
            held_out = [candidate for candidate in kept if keeping.fence(candidate) in avoid]
            validation = encoded(held_out, model, tokenizer)
        first = Source(share, rows_without(kept, avoid, model, tokenizer))
    else:
        first = Source(share, task=settings.task)
    sources = [first]
    for name, part in mixed:
        sources.append(mixed_source(name, part, avoid, settings, model, tokenizer))
    return sources, validation


def mixed_source(
    name: str, share: float, avoid: frozenset[str], settings: SFTConfig, model, tokenizer
) -> Source:
    """The source of one --mix, a file or a task, without the problems of the validation."""
    if Path(name).exists():
        kept = keeping.read(name, settings, tokenizer, mixed=True)
        rows = rows_without(kept, avoid, model, tokenizer)
        if not rows:
            raise UserError(f"--mix {name}: all of its problems are among those of --validation")
        return Source(share, rows)
    if name.partition(":")[0] in tasks.GENERATORS:
        tasks.generator(name)  # a size that it does not have is said here
        return Source(share, task=name, avoid=avoid)
    known = ", ".join(tasks.GENERATORS)
    raise UserError(f"--mix {name}: no such file, and no such task ({known})")


def rows_without(
    candidates: list[keeping.Candidate], avoid: frozenset[str], model, tokenizer
) -> list[Row]:
    """The rows of candidates whose problem is not validated on."""
    trained = [candidate for candidate in candidates if keeping.fence(candidate) not in avoid]
    return encoded(trained, model, tokenizer)


def encoded(candidates: list[keeping.Candidate], model, tokenizer) -> list[Row]:
    """The rows of candidates."""
    pairs = [(candidate.prompt, candidate.response) for candidate in candidates]
    return encode_pairs(pairs, model, tokenizer)


def with_steps_of_epochs(settings: SFTConfig, sources: list[Source]) -> SFTConfig:
    """The settings with the steps that --epochs takes; the last one may have fewer rows."""
    if not settings.epochs:
        return settings
    rows = settings.epochs * sum(rows_per_epoch(sources))
    steps = -(-rows // settings.rows)
    if settings.warmup >= steps:
        print(
            f"--warmup {settings.warmup}: --epochs takes {steps} steps, so the learning rate never "
            "reaches its peak",
            file=sys.stderr,
        )
    return replace(settings, steps=steps)


# ---------------------------------------------------------------- training


def learning_rate(step: int, settings: SFTConfig) -> float:
    """Linear warm-up, then a cosine from the peak to its floor."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    middle = (1 + settings.lr_floor) / 2
    swing = (1 - settings.lr_floor) / 2
    return settings.lr * (middle + swing * math.cos(math.pi * progress))


def micro_batch_losses(
    model: lm.Transformer, rows: list[Row], settings: SFTConfig
) -> Iterator[torch.Tensor]:
    """The loss of each micro-batch of (prompt ids, response ids) rows; together their mean.

    That is the mean per response token of all rows: micro-batches cannot change the gradient.
    """
    tokens = sum(len(response) for _, response in rows)
    lengths = [len(prompt) + len(response) for prompt, response in rows]
    for batch in micro_batches(lengths, settings.token_budget, model.packs):
        prompts = [rows[i][0] for i in batch]
        responses = [rows[i][1] for i in batch]
        logprobs, _ = lm.response_logprobs(model, prompts, responses)
        yield -logprobs.sum() / tokens


def supervised_step(
    model: lm.Transformer,
    optimizer: MasterAdamW,
    rows: list[Row],
    lr: float,
    settings: SFTConfig,
) -> tuple[float, float]:
    """One step on (prompt ids, response ids) rows.

    Returns the mean loss per response token and the gradient norm.
    """
    total = 0.0
    for loss in micro_batch_losses(model, rows, settings):
        loss.backward()
        optimizer.accumulate()
        total += loss.item()
    return total, optimizer.step(lr, settings.clip_norm)


@torch.no_grad()
def mean_loss(model: lm.Transformer, rows: list[Row], settings: SFTConfig) -> float:
    """The mean loss per response token of rows that are not trained on."""
    return sum(loss.item() for loss in micro_batch_losses(model, rows, settings))


def train(settings: SFTConfig) -> dict:
    """Train and save; returns {"loss", "steps", "tokens", "seconds"}.

    The loss is averaged over the last 100 steps. With --validation there is "validation", too:
    {steps done: mean loss per response token}.
    """
    device = pick_device(settings.device)
    out = output_folder(settings.out)
    place = device
    if settings.offload_optimizer:
        place = torch.device("cpu")  # the device never holds the fp32 weights
    model, tokenizer = first_model(settings, place)
    model.recompute = settings.gradient_checkpointing
    sources, held_out = open_sources(settings, model, tokenizer)
    settings = with_steps_of_epochs(settings, sources)
    next(rows_of_steps(settings, sources, model, tokenizer))  # if there is a fault, it is said now
    dtype, _ = pick_dtype(settings.dtype, device, model.config.hidden_size)
    optimizer = MasterAdamW(
        model,
        dtype,
        weight_decay=settings.weight_decay,
        device=device if settings.offload_optimizer else None,
        offload=settings.offload_optimizer,
    )
    with claimed(out):
        validation = {}
        if held_out:
            validation[0] = mean_loss(model, held_out, settings)
        losses = []
        tokens = 0
        began = time.time()
        # 1. The step's rows.
        steps = rows_of_steps(settings, sources, model, tokenizer)
        bar = tqdm(steps, desc="sft", total=settings.steps, mininterval=5)
        for step, rows in enumerate(bar):
            # 2. Update.
            lr = learning_rate(step, settings)
            loss, norm = supervised_step(model, optimizer, rows, lr, settings)
            # 3. Say how it goes.
            losses.append(loss)
            recent = sum(losses[-100:]) / len(losses[-100:])
            tokens += sum(len(prompt) + len(response) for prompt, response in rows)
            rate = tokens / (time.time() - began)
            bar.set_postfix(loss=f"{recent:.4f}", norm=f"{norm:.2f}", tok_s=f"{rate:.0f}")
            # 4. Save, and measure on what is not trained on.
            done = step + 1
            if done % settings.save_every == 0 or done == settings.steps:
                save_masters(out, model, tokenizer, optimizer, in_bf16=settings.from_scratch)
                if held_out:
                    validation[done] = mean_loss(model, held_out, settings)
    seconds = time.time() - began
    result = {"loss": recent, "steps": settings.steps, "tokens": tokens, "seconds": seconds}
    if held_out:
        result["validation"] = validation
    return result


def output_folder(path: str) -> Path:
    """Where the model will be saved; UserError if something else than a model stands there.

    A folder is replaced as a whole: with what else is in it, that would be lost.
    """
    check_link(Path(path))
    out = Path(path).resolve()
    is_model = (out / "model.safetensors").is_file()
    has_content = out.is_dir() and any(out.iterdir())
    if out.is_file() or (has_content and not is_model):
        raise UserError(f"--out {path}: there is something else; only a model folder is replaced")
    others = model_folder.others_in(out) if is_model else []
    if others:
        raise UserError(
            f"--out {path}: beside a model there is {others[0]} ({len(others)} such in all), which "
            "would be lost: choose another --out"
        )
    return out


def first_model(settings: SFTConfig, device: torch.device):
    """(model, tokenizer) that training starts from, fp32: new ones or loaded ones."""
    if not settings.from_scratch:
        return lm.load(settings.model, device, torch.float32)
    tokenizer = new_tokenizer()
    model = new_model(BASE_SHAPE, tokenizer, settings.seed).to(device)
    return model, tokenizer


def save_masters(
    out: Path, model: lm.Transformer, tokenizer, optimizer: MasterAdamW, in_bf16: bool
) -> None:
    """Save the fp32 masters, as they are or in bf16.

    What is made from scratch is the base, which ships with the project: half the size.
    """
    state = optimizer.named_masters()
    if in_bf16:
        state = {name: master.to(torch.bfloat16) for name, master in state.items()}
    lm.save(out, model, tokenizer, state)


def main() -> None:
    settings, given = parse(SFTConfig, "supervised training")
    if settings.epochs and "steps" in given:
        raise UserError("--epochs says how many steps there are: leave out --steps")
    try:
        result = train(settings)
    except NotFinite as error:
        raise UserError(
            f"{error}; begin again with an --lr below {settings.lr:g}, or look at --model "
            f"{settings.model}"
        ) from None
    print(
        f"{settings.out}: loss {result['loss']:.4f} after {result['steps']} steps, "
        f"{result['tokens'] / 1e6:.1f} M tokens, {result['seconds'] / 60:.1f} minutes"
    )
    for done, loss in result.get("validation", {}).items():
        print(f"validation loss after {done} steps: {loss:.4f}")


if __name__ == "__main__":
    run_program(main)
