"""TRL's side of a comparison: steps of its GRPOTrainer, as like ours as it can be told."""

import time
from dataclasses import dataclass

import torch

from config import UserError
from speed.measure import synchronize
from speed.side_ours import LR


class ForcedLengths:
    """A LogitsProcessor: no stop token before row b's length, nothing else at it."""

    def __init__(self, width: int, limits: list[int], stops: list[int]):
        self.width = width
        self.limits = torch.tensor(limits)
        self.stops = stops

    def __call__(self, input_ids, scores):
        scores[:, self.stops] = float("-inf")
        drawn = input_ids.shape[1] - self.width + 1  # the one that these scores are for included
        last = (self.limits == drawn).to(scores.device)
        scores[last] = float("-inf")
        scores[last, self.stops[0]] = 0.0
        return scores


def impose(model, limits: list[int], stops: list[int]) -> None:
    """Make the model's own generate give row b `limits[b]` tokens, the last one a stop token."""
    from transformers import LogitsProcessorList

    plain = type(model).generate

    def generate(**given):
        width = given["input_ids"].shape[1]
        lengths = ForcedLengths(width, limits, stops)
        return plain(model, **given, logits_processor=LogitsProcessorList([lengths]))

    model.generate = generate


def text_for_trl(text: str, ids: list[int], tokenizer) -> str:
    """The text that TRL, which has the tokenizer add its special tokens, turns into these ids.

    A chat template may write the first special token itself: then it is left to the tokenizer.
    UserError if that does not give the ids either.
    """
    without_first = text.removeprefix(tokenizer.bos_token or "")
    for candidate in (text, without_first):
        if tokenizer(candidate)["input_ids"] == ids:
            return candidate
    raise UserError(
        "TRL would turn these prompts into other ids: choose another --template, or leave it out "
        "with --skip-trl"
    )


@dataclass(frozen=True)
class TrlStep:
    """One step of GRPOTrainer."""

    texts: list[str]  # prompts
    group: int
    cuts: int  # micro-batches
    max_new_tokens: int
    steps: int
    clip_norm: float


def run_steps(model, tokenizer, step: TrlStep, rule, folder: str, after_step) -> None:
    """Train for `step.steps` steps and call `after_step(seconds)` after each.

    The seconds go from the end of one step to the end of the next, without the time that
    `after_step` takes. `rule(texts, completion ids, which prompt)` pays.
    """
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Hands on the seconds of each step."""

        def start(self):
            self.began = time.perf_counter()

        def on_step_end(self, *_, **__):
            synchronize(model.device)
            after_step(time.perf_counter() - self.began)
            self.start()

    clock = Clock()
    trainer = trl_trainer(model, tokenizer, step, rule, folder, clock)
    clock.start()
    trainer.train()


def trl_trainer(model, tokenizer, step: TrlStep, rule, folder: str, callback):
    """A GRPOTrainer that has said nothing yet, and saves nothing."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    rows = len(step.texts) * step.group
    cuda = model.device.type == "cuda"

    def pay(completions, completion_ids, which, **_):
        assert len(completions) == rows, "TRL did not generate all rows at once"
        return rule(completions, completion_ids, which)

    config = GRPOConfig(
        folder,
        use_cpu=not cuda,
        bf16=model.dtype == torch.bfloat16,
        gradient_checkpointing=False,
        max_steps=step.steps,
        per_device_train_batch_size=rows // step.cuts,
        gradient_accumulation_steps=step.cuts,
        steps_per_generation=step.cuts,
        num_generations=step.group,
        max_completion_length=step.max_new_tokens,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        beta=0.0,
        loss_type="dr_grpo",
        scale_rewards="none",
        max_grad_norm=step.clip_norm,
        learning_rate=LR,
        lr_scheduler_type="constant",
        shuffle_dataset=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    which = list(range(len(step.texts))) * step.steps
    data = Dataset.from_dict({"prompt": step.texts * step.steps, "which": which})
    trainer = GRPOTrainer(
        model, pay, config, data, processing_class=tokenizer, callbacks=[callback]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
