"""What the rows are measured on: one set of weights in our model and in transformers', prompts, lengths."""
from dataclasses import asdict, dataclass, replace

import torch

import model as lm
import sample
import tasks
from config import Refusal, setting
from engine import memory
from engine.device import pick_device
from speed import measure
from speed.measure import Machine
from speed.report import check_json, chosen, numbers
from storage import model_folder

ROWS = ("prefill", "decode", "rollout", "logprobs", "update", "step", "attention")
TINY = lm.ModelConfig(2048, 64, 128, 2, 4, 2, tie_word_embeddings=True)  # its vocabulary holds the base's


@dataclass(frozen=True)
class RowsConfig:
    shape: str = setting("qwen2.5-1.5b", "shape of the random weights: a name of memory.py, or tiny")
    rows: str = setting("", f"what to measure, separated by commas: {', '.join(ROWS)}; empty: all")
    repeats: int = setting(3, "measured rounds, after one for warming up")
    patience: float = setting(8.0, "seconds after which a side of a row is measured no more often")
    context: int = setting(600, "tokens that a decoding row sees, in the decode rows")
    slots: str = setting("1,16,64,256,512", "rows that decode at a time, in the decode rows")
    rollouts: str = setting("256,1024", "rollouts of the rollout rows")
    prompts: int = setting(128, "prompts of the step")
    group: int = setting(8, "responses per prompt")
    prompt_tokens: int = setting(256, "tokens of a prompt")
    max_new_tokens: int = setting(1024, "longest response, tokens; the mean is an eighth")
    token_budget: int = setting(8192, "tokens of a micro-batch, of ours and of the log-prob pass of both")
    trl_rows: int = setting(8, "rows of TRL's micro-batches")
    json: str = setting("bench-cuda.json", "write all figures to this file")
    device: str = setting("cuda", "cuda; cpu is for rehearsals")

    def __post_init__(self):
        if self.shape != "tiny" and self.shape not in memory.SHAPES:
            raise Refusal(f"--shape {self.shape}: choose {', '.join(memory.SHAPES)} or tiny")
        if min(self.repeats, self.prompts, self.group - 1, self.prompt_tokens - 1, self.max_new_tokens - 7,
               self.context - 7, self.token_budget, self.trl_rows) < 1 or self.patience < 0:
            raise Refusal("--repeats, --prompts, --token-budget and --trl-rows must be at least 1, --group and "
                          "--prompt-tokens at least 2, --max-new-tokens and --context at least 8")
        chosen(self.rows, ROWS)
        if any(n % self.group for n in numbers("--rollouts", self.rollouts)):
            raise Refusal(f"--rollouts {self.rollouts}: must be multiples of --group {self.group}")
        numbers("--slots", self.slots)
        check_json(self.json)


# ---------------------------------------------------------------- what is measured on

@dataclass
class Subject:
    """One set of weights, in our model and in theirs, and the problem of its size."""
    c: RowsConfig
    model: lm.Transformer
    tokenizer: object
    theirs: object  # transformers' model on the same tensors, without gradients
    stops: list[int]
    machine: Machine
    folder: str  # for what TRL writes
    run: object = None  # what the trainer keeps, once it has been asked for

    @property
    def device(self) -> torch.device:
        return self.model.device

    def texts(self, n: int) -> list[str]:
        """Prompts of at least --prompt-tokens tokens, cut after a whole problem."""
        each = self.c.prompt_tokens // 16 + 1  # a problem has more than 16 tokens
        problems, texts = tasks.make_problems("countdown", "train", "bench", each * n), []
        for i in range(n):
            text, own = "", iter(problems[i * each:(i + 1) * each])
            while len(self.tokenizer(text)["input_ids"]) < self.c.prompt_tokens:
                text += tasks.prompt(next(own), "short", self.tokenizer)
            texts.append(text)
        return texts

    def prompts(self, n: int) -> list[list[int]]:
        return [self.tokenizer(text)["input_ids"] for text in self.texts(n)]

    def sampling(self) -> sample.Sampling:
        return sample.Sampling(self.c.max_new_tokens)

    def limits(self, n: int, seed: int) -> list[int]:
        return measure.lognormal_lengths(n, self.c.max_new_tokens / 8, seed)


def random_model(shape: lm.ModelConfig, context: int, device, dtype, seed: int = 0) -> lm.Transformer:
    """A model of this shape with N(0, 0.02) matrices, made on the device; no id stops its responses."""
    config = replace(shape, max_position_embeddings=context, rope_theta=1e6)
    with torch.device("meta"):
        model = lm.Transformer(config)
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0.0, 0.02, generator=generator) if p.dim() > 1 else p.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


def their_model(model: lm.Transformer, tokenizer):
    """transformers' model with the very tensors of ours: no second copy, until an optimizer moves ours."""
    from transformers import AutoConfig, AutoModelForCausalLM
    fields = asdict(model.config) | {"head_dim": model.config.head_size}
    values = model_folder.config_json(fields, (tokenizer.eos_token_id,), tokenizer, model.dtype)
    dtype = getattr(torch, values.pop("torch_dtype"))
    with torch.device(model.device):
        theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=dtype)
    missing, surplus = theirs.load_state_dict(lm.checkpoint_tensors(model), strict=False, assign=True)
    assert not surplus and set(missing) <= {"lm_head.weight"}, (missing, surplus)
    theirs.tie_weights()
    return theirs.eval()


def random_subject(c: RowsConfig, scratch: str) -> Subject:
    device, dtype = pick_device(c.device)
    tokenizer = lm.load("base")[1]
    shape = TINY if c.shape == "tiny" else memory.SHAPES[c.shape]
    model = random_model(shape, 32768, device, dtype)
    size, width = (2 ** 32, 8192) if device.type == "cuda" else (2 ** 24, 256) if c.shape == "tiny" else (2 ** 28, 2048)
    return Subject(c, model, tokenizer, their_model(model, tokenizer), [tokenizer.eos_token_id],
                   measure.measure_machine(device, dtype, size, width), scratch)


def base_subject(c, machine: Machine, scratch: str) -> Subject:
    """The embedded base on a CPU, with the lengths of the headline."""
    model, tokenizer = lm.load(c.model)
    stops, model.stop_ids = list(model.stop_ids), ()
    rows = RowsConfig(repeats=c.repeats, context=c.context, slots=c.slots, group=c.group, prompts=c.prompts,
                      rollouts=f"{16 * c.group},{64 * c.group}", prompt_tokens=24, max_new_tokens=c.max_new_tokens,
                      token_budget=2048, json=c.json, device="cpu")
    return Subject(rows, model, tokenizer, their_model(model, tokenizer), stops, machine, scratch)
