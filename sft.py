"""Supervised training on (prompt, response) pairs.

It makes the embedded base; later it is for cold start and distillation.

    python sft.py --from-scratch --out base    # the mixture in tasks/traces.py, new weights
    python sft.py --model base --data pairs.jsonl --out tuned
    python sft.py --model MODEL --task words:1-2 --template chat --steps 20 --rows 16 --lr 1e-4

The loss is the mean negative log-likelihood of the response tokens, the stop token included; the
prompt is not trained.
"""

import json
import math
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

import model as lm
import tasks
from config import NotFinite, UserError, check_settings, parse, run_program, setting
from engine.batches import micro_batches
from engine.device import DTYPES, pick_device, pick_dtype
from engine.optimizer import MasterAdamW
from storage import model_folder
from storage.folders import check_link, claimed
from tasks import files, traces


@dataclass(frozen=True)
class SFTConfig:
    """The settings of a supervised training."""

    recipe: str | None = setting(None, "TOML file of settings; flags beat it")
    out: str = setting("tuned", "folder for the trained model")
    from_scratch: bool = setting(
        False, "make the embedded base: new tokenizer, new weights, generated traces"
    )
    model: str = setting("base", "model folder or hub id to start from")
    data: str | None = setting(None, "JSONL file of pairs; without it, traces are generated")
    task: str | None = setting(
        None, "task of the generated traces, as words:1-2; without it, the embedded base's mixture"
    )
    template: str = setting(
        "short", "prompt template of the generated traces", choices=tuple(tasks.TEMPLATES)
    )
    prompt_field: str = setting(
        "prompt", "field of --data that holds the whole prompt, template included"
    )
    response_field: str = setting(
        "response", "field of --data that holds the response, without the stop token"
    )
    steps: int = setting(8000, "optimizer steps", at_least=1)
    rows: int = setting(96, "pairs per step", at_least=1)
    token_budget: int = setting(2048, "tokens per micro-batch, padding included", at_least=1)
    lr: float = setting(
        2e-3, "peak learning rate: linear warm-up, then a cosine down to a tenth", at_least=0
    )
    warmup: int = setting(200, "steps of warm-up", at_least=0)
    weight_decay: float = setting(0.05, "AdamW's decoupled weight decay", at_least=0)
    clip_norm: float = setting(1.0, "largest gradient norm", above=0)
    save_every: int = setting(1000, "steps between saves of --out", at_least=1)
    seed: int = setting(0, "seed of weights and data")
    device: str = setting("auto", "auto, cpu or cuda")
    dtype: str = setting("auto", "compute type: auto, fp32 or bf16", choices=("auto", *DTYPES))

    def __post_init__(self):
        check_settings(self)
        if self.data and self.task:
            raise UserError("--data and --task: choose one of them")
        if self.from_scratch and self.model != type(self).model:
            raise UserError("--from-scratch makes new weights: leave out --model")


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
# What the base reads: share of the pairs by task. Countdown is what `python train.py` trains on.
TASK_SHARE = {"countdown:3": 0.80, "countdown:4": 0.04, "kk": 0.08, "arithmetic": 0.08}


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


# ---------------------------------------------------------------- pairs


def generated_pairs(
    rng: random.Random, n: int, task: str | None = None, template: str = "short", tokenizer=None
) -> list[tuple[str, str]]:
    """(prompt, response) texts on training problems alone: of one task, or in the stated mixture.

    A prompt that does not open the thinking leaves that to the response.
    """
    shares = TASK_SHARE
    if task:
        shares = {task: 1.0}
    pairs = []
    for drawn in rng.choices(list(shares), list(shares.values()), k=n):
        new_problem = tasks.generator(drawn)
        problem = new_problem(rng)
        while tasks.split_of(problem.key) != "train":
            problem = new_problem(rng)
        prompt = tasks.prompt(problem, template, tokenizer)
        habit = traces.pick(rng)
        response = traces.trace(problem, habit, rng)
        if not prompt.endswith("<think>"):
            response = "<think>" + response
        pairs.append((prompt, response))
    return pairs


def read_pairs(path: str, prompt_field: str, response_field: str) -> list[tuple[str, str]]:
    """(prompt, response) texts from a JSONL file; UserError names the line."""
    pairs = []
    for where, row in files.rows(path):
        for name in (prompt_field, response_field):
            if not isinstance(row.get(name), str):
                fields = ", ".join(row) or "none"
                raise UserError(f"{where}: no text in field {name!r} (fields: {fields})")
        if not row[prompt_field]:
            raise UserError(f"{where}: field {prompt_field!r} is empty")
        pairs.append((row[prompt_field], row[response_field]))
    if not pairs:
        raise UserError(f"{path}: no pairs in it")
    return pairs


def encode_pairs(
    pairs: list[tuple[str, str]], model: lm.Transformer, tokenizer
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of each pair, one stop token at the end.

    UserError if one does not fit the context, or has ids that the model does not have.
    """
    context = model.config.max_position_embeddings
    vocabulary = model.config.vocab_size
    # Responses begin in mid-text: nothing is put before them.
    texts = [response for _, response in pairs]
    responses = tokenizer(texts, add_special_tokens=False)["input_ids"]
    rows = []
    for number, ((prompt, _), response) in enumerate(zip(pairs, responses), 1):
        tasks.check_ids(response, tokenizer, vocabulary)
        ended = with_stop(response, number, model, tokenizer)
        rows.append((tasks.encode(prompt, "", tokenizer, vocabulary), ended))
    for number, (prompt, response) in enumerate(rows, 1):
        tokens = len(prompt) + len(response)
        if tokens > context:
            raise UserError(
                f"pair {number} has {tokens} tokens, the model's context is {context}: "
                "shorten it or leave it out"
            )
    return rows


def with_stop(response: list[int], number: int, model: lm.Transformer, tokenizer) -> list[int]:
    """Response ids of pair `number` that end in a stop token: their own, if there is one.

    White space and more stop tokens behind it are dropped. UserError if anything else comes after
    it: the sampler never gets there.
    """
    ends = [i for i, token in enumerate(response) if token in model.stop_ids]
    if not ends:
        stop = tokenizer.eos_token_id
        if stop is None:
            stop = model.stop_ids[0]
        return response + [stop]
    first = ends[0]
    rest = [token for token in response[first:] if token not in model.stop_ids]
    if tokenizer.decode(rest).strip():
        name = tokenizer.decode(response[first])
        raise UserError(
            f"pair {number}: the stop token {name} stands within its response, which would end "
            "there: cut the rest off, or make a pair of its own of it"
        )
    return response[: first + 1]


# ---------------------------------------------------------------- training


def learning_rate(step: int, settings: SFTConfig) -> float:
    """Linear warm-up, then a cosine from the peak to a tenth of it."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.lr * (0.55 + 0.45 * math.cos(math.pi * progress))


def supervised_step(
    model: lm.Transformer,
    optimizer: MasterAdamW,
    rows: list[tuple[list[int], list[int]]],
    lr: float,
    settings: SFTConfig,
) -> tuple[float, float]:
    """One step on (prompt ids, response ids) rows.

    Returns the mean loss per response token and the gradient norm.
    """
    # The whole step's count: micro-batches cannot change the gradient.
    tokens = sum(len(response) for _, response in rows)
    lengths = [len(prompt) + len(response) for prompt, response in rows]
    total = 0.0
    for batch in micro_batches(lengths, settings.token_budget, model.packs):
        prompts = [rows[i][0] for i in batch]
        responses = [rows[i][1] for i in batch]
        logprobs, _ = lm.response_logprobs(model, prompts, responses)
        loss = -logprobs.sum() / tokens
        loss.backward()
        optimizer.accumulate()
        total += loss.item()
    return total, optimizer.step(lr, settings.clip_norm)


def train(settings: SFTConfig) -> dict:
    """Train and save; returns {"loss", "steps", "tokens", "seconds"}.

    The loss is averaged over the last 100 steps.
    """
    device = pick_device(settings.device)
    out = output_folder(settings.out)
    model, tokenizer = first_model(settings, device)
    dtype, _ = pick_dtype(settings.dtype, device, model.config.hidden_size)
    optimizer = MasterAdamW(model, dtype, weight_decay=settings.weight_decay)
    data = None
    if settings.data:
        pairs = read_pairs(settings.data, settings.prompt_field, settings.response_field)
        data = encode_pairs(pairs, model, tokenizer)
    rows_of_step(0, settings, data, model, tokenizer)  # if there is a fault, it is said at once
    with claimed(out):
        losses = []
        tokens = 0
        began = time.time()
        bar = tqdm(range(settings.steps), desc="sft", mininterval=5)
        for step in bar:
            # 1. The step's rows.
            rows = rows_of_step(step, settings, data, model, tokenizer)
            # 2. Update.
            lr = learning_rate(step, settings)
            loss, norm = supervised_step(model, optimizer, rows, lr, settings)
            # 3. Say how it goes.
            losses.append(loss)
            recent = sum(losses[-100:]) / len(losses[-100:])
            tokens += sum(len(prompt) + len(response) for prompt, response in rows)
            rate = tokens / (time.time() - began)
            bar.set_postfix(loss=f"{recent:.4f}", norm=f"{norm:.2f}", tok_s=f"{rate:.0f}")
            # 4. Save.
            done = step + 1
            if done % settings.save_every == 0 or done == settings.steps:
                save_masters(out, model, tokenizer, optimizer, in_bf16=settings.from_scratch)
    seconds = time.time() - began
    return {"loss": recent, "steps": settings.steps, "tokens": tokens, "seconds": seconds}


def rows_of_step(
    step: int, settings: SFTConfig, data: list | None, model: lm.Transformer, tokenizer
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of a step: a function of the seed and the step's number.

    data: the rows of a file to draw from; without them they are generated.
    """
    rng = random.Random(f"{settings.seed}/{step}")
    if data:
        return rng.choices(data, k=settings.rows)
    pairs = generated_pairs(rng, settings.rows, settings.task, settings.template, tokenizer)
    return encode_pairs(pairs, model, tokenizer)


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
    settings, _ = parse(SFTConfig, "supervised training")
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


if __name__ == "__main__":
    run_program(main)
