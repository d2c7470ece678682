"""Supervised training: the tokenizer survives a folder, the loss is of the response alone, and training lowers it."""

import json
import math
import random
import re
import unicodedata
from pathlib import Path

import pytest
import torch
from conftest import TINY, make_tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_must_hold import Recorder, close

import config
import model as lm
import sft
import tasks
import train
from config import UserError
from engine import batches
from tasks import words
from tasks.pairs import generated_pairs, read_pairs

# ---------------------------------------------------------------- the tokenizer


@pytest.fixture(scope="module")
def new_tokenizer():
    return sft.new_tokenizer()


@pytest.fixture(scope="module")
def texts():
    return [text for pair in generated_pairs(random.Random(0), 200) for text in pair]


def test_the_new_tokenizer_gives_the_same_ids_after_a_folder_of_model_type_qwen2(
    new_tokenizer, texts, tmp_path
):
    from transformers import AutoTokenizer

    lm.save(tmp_path / "m", make_tiny(new_tokenizer), new_tokenizer)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "qwen2"
    ids = new_tokenizer(texts)["input_ids"]
    assert AutoTokenizer.from_pretrained(tmp_path / "m")(texts)["input_ids"] == ids
    model, loaded = lm.load(str(tmp_path / "m"))
    assert loaded(texts)["input_ids"] == ids and max(map(max, ids)) < model.config.vocab_size
    assert model.stop_ids == (
        new_tokenizer.eos_token_id,
    ) and new_tokenizer.eos_token_id not in sum(ids, [])
    assert loaded.batch_decode(ids) == texts


def test_every_whole_number_up_to_100_and_every_tag_is_one_token(new_tokenizer):
    ids = {}
    for word in (*map(str, range(101)), "<think>", "</think>", "<answer>", "</answer>"):
        alone, amid = (
            new_tokenizer(word)["input_ids"],
            new_tokenizer(f"={word}+{word} {word}\n")["input_ids"],
        )
        assert len(alone) == 1 and amid.count(alone[0]) == 3
        ids[word] = alone[0]
    assert len(set(ids.values())) == 105


@pytest.mark.parametrize("number", ["1234", "1000", "101", "99999", "007"])
def test_a_longer_number_is_its_digits(new_tokenizer, number):
    assert [new_tokenizer.decode([i]) for i in new_tokenizer(number)["input_ids"]] == list(number)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40))
@example("12+34=46 yes\nso</think> <answer> 46 </answer><|endoftext|>").via("tags")
@example("  tab\there, don't , 3 . 100% \r\n\n é ß 。🙂 <|im_end|> \x00").via("spaces")
def test_any_text_comes_back_from_its_ids(new_tokenizer, text):
    back = new_tokenizer.decode(new_tokenizer(text)["input_ids"]) if text else ""
    assert unicodedata.normalize("NFC", back) == unicodedata.normalize(
        "NFC", text
    )  # Qwen2 joins accents to letters


# ---------------------------------------------------------------- pairs


def test_generated_pairs_are_training_problems_in_the_stated_mixture(texts):
    prompts = [text for text in texts if text.endswith("\n<think>")]
    kinds = {"Using": 0, "What": 0, "Knights": 0}
    for prompt in prompts:
        kinds[prompt.split()[0]] += 1
        if prompt.startswith("Using"):
            *numbers, target = map(int, re.findall(r"\d+", prompt))
            assert tasks.split_of(f"countdown {sorted(numbers)} {target}") == "train"
    assert len(prompts) == 200 and sum(sft.TASK_SHARE.values()) == pytest.approx(1)
    assert abs(kinds["Using"] / 200 - 0.84) < 0.1 and kinds["What"] and kinds["Knights"]


@pytest.mark.parametrize("template", ["short", "r1", "simple"])
def test_the_pairs_of_one_task_are_in_its_words_and_in_the_template(template):
    before, after = tasks.TEMPLATES[template].split("{question}")
    for prompt, response in generated_pairs(random.Random(0), 50, "words:1-2", template):
        question = prompt.removeprefix(before).removesuffix(after)
        assert prompt == before + question + after
        assert question.startswith(words.INSTRUCTIONS["train"])
        assert response.startswith("<think>") != prompt.endswith("<think>")
        opened = response.removeprefix("<think>")
        assert re.fullmatch(r"(\d+[-+*/]\d+=\d+\n?){1,2}</think> <answer>\d+</answer>", opened)


def test_data_and_task_together_are_refused():
    with pytest.raises(UserError, match="--data and --task"):
        sft.SFTConfig(data="pairs.jsonl", task="words")


@pytest.mark.parametrize(
    "line,says",
    [
        ("", ""),
        ("{bad", ""),
        ("[1]", ""),
        ('"text"', ""),
        ('{"prompt": "a"}', "no text in field 'response'"),
        ('{"response": "a"}', "no text in field 'prompt'"),
        ('{"prompt": "a", "response": 3}', "no text in field 'response'"),
        ('{"prompt": ["a"], "response": "b"}', "no text in field 'prompt'"),
        ('{"prompt": "", "response": "b"}', "'prompt' is empty"),
    ],
)
def test_a_bad_pair_is_refused_by_its_line(tmp_path, line, says):
    good = json.dumps({"prompt": "a", "response": "b"})
    (tmp_path / "p.jsonl").write_text("\n".join([good, line, good]) + "\n")
    with pytest.raises(UserError, match="line 2: .*" + says):
        read_pairs(str(tmp_path / "p.jsonl"), "prompt", "response")


def test_a_file_without_pairs_or_not_in_utf_8_is_refused(tmp_path):
    for content, says in (("", "no pairs"), ('{"prompt": "Où?", "response": "là"}\n', "line 1")):
        (tmp_path / "p.jsonl").write_bytes(content.encode("latin-1"))
        with pytest.raises(UserError, match=says):
            read_pairs(str(tmp_path / "p.jsonl"), "prompt", "response")


def test_pairs_are_read_from_the_fields_that_are_named(tmp_path):
    text = '{"q": "What?", "a": "", "more": 1}\n{"q": "Où?", "a": "là"}\n'
    (tmp_path / "p.jsonl").write_text(text, encoding="utf-8")
    assert read_pairs(str(tmp_path / "p.jsonl"), "q", "a") == [("What?", ""), ("Où?", "là")]


# ---------------------------------------------------------------- the loss


def rows_of(model):
    """Prompts and responses of many lengths; the stop id ends each response, and stands earlier in the first row, too."""
    rng, stop = random.Random(0), model.stop_ids[0]
    rows = [
        (
            [rng.randrange(1, 500) for _ in range(rng.randint(1, 9))],
            [rng.randrange(1, 500) for _ in range(rng.randint(1, 11))] + [stop],
        )
        for _ in range(7)
    ]
    rows[0][1][0] = rows[0][0][-1] = stop
    return rows


def gradient_by_hand(
    model, rows, trained=lambda prompt, response: range(len(prompt), len(prompt) + len(response))
):
    """(mean negative log-likelihood, its gradient) over the positions `trained`, one unpadded row at a time."""
    total, n = 0.0, 0
    for prompt, response in rows:
        ids = prompt + response
        logprobs = model(torch.tensor([ids]))[0].log_softmax(-1)
        for t in trained(prompt, response):
            total, n = total - logprobs[t - 1, ids[t]], n + 1
    (total / n).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return (total / n).item(), gradient


def step_on(model, rows, **more):
    recorder = Recorder(model)
    loss, _ = sft.supervised_step(
        model, recorder, rows, 0.0, sft.SFTConfig(**{"token_budget": 10**6, **more})
    )
    return loss, recorder.gradient


def test_the_loss_is_of_the_response_alone_with_its_stop_token(tiny):
    rows = rows_of(tiny)
    loss, gradient = step_on(tiny, rows)
    by_hand = gradient_by_hand(tiny, rows)
    close(loss, by_hand[0])
    close(gradient, by_hand[1])
    faults = {
        "prompt trained too": lambda p, r: range(1, len(p) + len(r)),
        "stop token left out": lambda p, r: range(len(p), len(p) + len(r) - 1),
        "stop id masked by value": lambda p, r: [
            len(p) + i for i, t in enumerate(r) if t not in tiny.stop_ids
        ],
        "shifted by one": lambda p, r: range(len(p) + 1, len(p) + len(r)),
    }
    for fault in faults.values():
        with pytest.raises(AssertionError):
            close(gradient, gradient_by_hand(tiny, rows, fault)[1])


def test_micro_batches_do_not_change_the_gradient(tiny):
    rows = rows_of(tiny)
    loss, gradient = step_on(tiny, rows)
    for budget in (1, 30, 45):
        split_loss, split = step_on(tiny, rows, token_budget=budget)
        close(split_loss, loss)
        close(split, gradient)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 300))
def test_micro_batches_hold_every_row_once_and_keep_to_the_budget_with_padding(lengths, budget):
    found = batches.micro_batches(lengths, budget)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert all(
        len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget for batch in found
    )
    longest_first = [lengths[i] for batch in found for i in batch]
    assert longest_first == sorted(lengths, reverse=True)  # rows of like length stand together


# ---------------------------------------------------------------- training


def test_the_learning_rate_warms_up_to_its_peak_and_ends_at_a_tenth():
    c = sft.SFTConfig(steps=1000, warmup=100, lr=2e-3)
    rates = [sft.learning_rate(step, c) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-5) and rates[99] == rates[100] == max(
        rates
    ) == pytest.approx(2e-3)
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[550] == pytest.approx(0.55 * 2e-3) and rates[-1] == pytest.approx(2e-4, rel=1e-3)
    for edge in (dict(warmup=0), dict(warmup=2000), dict(steps=1)):
        c = sft.SFTConfig(**{"steps": 1000, "warmup": 100, "lr": 1.0} | edge)
        assert all(0 < sft.learning_rate(step, c) <= 1 for step in range(c.steps))
    assert sft.learning_rate(0, sft.SFTConfig(steps=10, warmup=0, lr=1.0)) == 1


PAIRS = [
    ("Say hello.\n<think>", "hello</think> <answer>1</answer>"),
    ("ok?", ""),
    ("Add 7 and 8\n<think>", "15"),
    ("2+3\n<think>", "2+3=5</think> <answer>5</answer>"),
]


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in PAIRS)
    )
    return str(tmp_path / "pairs.jsonl")


@torch.no_grad()
def loss_of(folder):
    model, tokenizer = lm.load(folder)
    rows = [
        (tokenizer(p)["input_ids"], tokenizer(r)["input_ids"] + [tokenizer.eos_token_id])
        for p, r in PAIRS
    ]
    logprobs, _ = lm.response_logprobs(model, *zip(*rows))
    return -logprobs.sum().item() / sum(len(r) for _, r in rows)


def test_the_command_line_trains_on_pairs_and_saves(
    tmp_path, tiny_folder, pairs, monkeypatch, capsys
):
    out = str(tmp_path / "tuned")
    monkeypatch.setattr(
        "sys.argv",
        [
            "sft.py",
            "--model",
            tiny_folder,
            "--data",
            pairs,
            "--out",
            out,
            "--steps",
            "40",
            "--rows",
            "8",
            "--lr",
            "0.01",
            "--warmup",
            "4",
            "--device",
            "cpu",
        ],
    )
    sft.main()
    assert loss_of(out) < 0.5 * loss_of(tiny_folder)
    assert capsys.readouterr().out.startswith(f"{out}: loss ")
    assert (
        json.loads(Path(out, "config.json").read_text())["torch_dtype"] == "float32"
    )  # tuned weights are not rounded


def test_each_response_is_trained_with_one_stop_token_at_its_end(
    tmp_path, tiny_folder, pairs, tokenizer, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        sft,
        "supervised_step",
        lambda model, optimizer, rows, lr, c: seen.extend(rows) or (0.0, 0.0),
    )
    sft.train(
        sft.SFTConfig(
            model=tiny_folder, data=pairs, out=str(tmp_path / "o"), steps=2, rows=20, device="cpu"
        )
    )
    assert len(seen) == 40 and {
        (tokenizer.decode(p), tokenizer.decode(r[:-1])) for p, r in seen
    } == set(PAIRS)
    assert all(
        (p + r).count(tokenizer.eos_token_id) == 1 and r[-1] == tokenizer.eos_token_id
        for p, r in seen
    )


def test_a_base_made_from_scratch_is_saved_in_bf16_and_the_same_seed_makes_the_same(
    tmp_path, tokenizer, monkeypatch
):
    monkeypatch.setattr(sft, "BASE_SHAPE", TINY)
    monkeypatch.setattr(sft, "new_tokenizer", lambda: tokenizer)
    made = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        c = sft.SFTConfig(
            from_scratch=True, out=str(tmp_path / name), steps=2, rows=3, seed=seed, device="cpu"
        )
        result = sft.train(c)
        assert result["loss"] == pytest.approx(
            math.log(len(tokenizer)), rel=0.05
        )  # it knows nothing yet
        made.append((tmp_path / name / "model.safetensors").read_bytes())
    assert made[0] == made[1] != made[2]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_a_pair_longer_than_the_context_is_refused_before_training(tmp_path, tiny_folder):
    long = "1 + " * TINY["max_position_embeddings"]
    (tmp_path / "p.jsonl").write_text(
        "".join(json.dumps({"prompt": "ok?", "response": r}) + "\n" for r in ("1", long))
    )
    c = sft.SFTConfig(
        model=tiny_folder,
        data=str(tmp_path / "p.jsonl"),
        out=str(tmp_path / "o"),
        steps=1,
        device="cpu",
    )
    with pytest.raises(UserError, match="context"):
        sft.train(c)
    assert not (tmp_path / "o").exists()


def test_the_recipe_of_the_cold_start_trains(tmp_path, chatty_folder):
    recipe = Path(__file__).parent.parent / "recipes" / "sft" / "smollm2-words.toml"
    first = config.read_toml(str(recipe), sft.SFTConfig)
    # The second stage begins from what the first one writes, with the same task and template.
    second = config.read_toml(str(recipe.parent.parent / recipe.name), train.TrainConfig)
    assert second["model"] == first["out"]
    assert all(second[name] == first[name] for name in ("task", "template"))
    small = dict(model=chatty_folder, steps=1, rows=2, warmup=1, out=str(tmp_path / "tuned"))
    assert sft.train(sft.SFTConfig(**{**first, **small}))["steps"] == 1
    lm.load(tmp_path / "tuned")
