"""Published settings beside ours: no difference without a reason, no reason without a difference."""

import dataclasses
from pathlib import Path

import pytest

import bench
import tasks
from config import UserError, read_told, read_toml
from sft import SFTConfig
from speed import recipes
from speed.recipes import Row, rows_of, shown, table
from train import TrainConfig

# The recipes that repeat somebody's run.
WITH_SOURCE = (
    "dr-grpo-1.5b",
    "dr-grpo-7b",
    "grpo-1.5b",
    "gsm8k-0.5b",
    "logic-rl-7b",
    "logic-rl-7b-reinforce",
    "r1-zero",
    "simplerl-7b",
    "simplerl-zero-7b",
    "simplerl-zero-7b-ppo",
    "tinyzero-3b",
    "tinyzero-3b-ppo",
)
# Those of supervised training, with the sources that say how it went.
SUPERVISED = ("sft/limo", "sft/r1-distill-1.5b", "sft/s1", "sft/simplerl-7b")
TEXT = """
lr = 2e-6
steps = 5
stop = ["\\n"]
[deviations]
lr = "faster"
async_rollouts = "there are none"
[published."a.sh"]
lr = 1e-6
steps = 5
[published."b.py"]
async_rollouts = true
stop = ["\\n"]
"""


def written(tmp_path, text=TEXT):
    path = tmp_path / "r.toml"
    path.write_text(text)
    return path


def test_a_row_for_each_published_setting(tmp_path):
    assert rows_of(written(tmp_path)) == [
        Row("lr", "1e-06", "2e-06", "a.sh", "faster"),
        Row("steps", "5", "5", "a.sh", ""),
        Row("async_rollouts", "true", "no setting", "b.py", "there are none"),
        Row("stop", "\\n", "\\n", "b.py", ""),
    ]
    assert rows_of(written(tmp_path, "lr = 1e-6")) == []


@pytest.mark.parametrize(
    "before, after, says",
    [
        ('lr = "faster"\n', "", "recipe r: lr is 2e-06, published 1e-06, and .* does not say why"),
        ('async_rollouts = "there are none"\n', "", "async_rollouts is no setting, published true"),
        ("lr = 2e-6", "lr = 1e-6", "recipe r: lr is as published"),
        ("async_rollouts = true\n", "", "recipe r: async_rollouts deviates from nothing"),
        ("steps = 5\nstop", "steps = 6\nstop", "steps is 6, published 5"),
        ("steps = 5\nstop", "stop", "steps is 80, published 5"),  # our default counts
    ],
)
def test_an_untold_difference_is_refused_and_so_is_a_told_one_that_is_none(
    tmp_path, before, after, says
):
    assert before in TEXT
    with pytest.raises(UserError, match=says):
        rows_of(written(tmp_path, TEXT.replace(before, after, 1)))


def test_what_is_ours_alone_is_named(tmp_path):
    text = TEXT.replace("[deviations]", "eval_every = 7\n[deviations]")
    assert table(written(tmp_path, text)).endswith("Ours alone: `eval_every` 7.")


def test_values_are_shown_as_a_recipe_writes_them():
    values = (True, 1e-6, 0.0, 3, "a", None, [], ["\n", "b"])
    assert [shown(value) for value in values] == [
        "true",
        "1e-06",
        "0",
        "3",
        "a",
        "none",
        "none",
        "\\n, b",
    ]


def test_the_command_shows_all_or_those_that_are_named(capsys):
    recipes.main([])
    everything = capsys.readouterr().out
    headings = [line[3:] for line in everything.splitlines() if line[:3] == "## "]
    assert sorted(headings) == sorted([*WITH_SOURCE, *SUPERVISED])
    recipes.main(["tinyzero-3b"])
    one = capsys.readouterr().out
    assert one.count("## ") == 1 and one.strip() in everything
    with pytest.raises(UserError, match="no recipe x: choose dr-grpo-1.5b, .*tinyzero-3b"):
        recipes.main(["x"])
    assert bench.PROGRAMS["recipes"] is recipes.main


@pytest.mark.parametrize("name", WITH_SOURCE)
def test_a_recipe_says_what_matters_about_its_source(name):
    """Each of these changes a run; a source that gives none says so."""
    path = recipes.RECIPES / f"{name}.toml"
    rows = {row.name: row for row in rows_of(path)}
    for setting in ("lr", "clip_low", "kl_coef", "prompts_per_step", "group_size", "temperature"):
        assert setting in rows, setting
    if name != "r1-zero":  # nothing is published of it
        for setting in ("beta1", "beta2", "weight_decay", "lr_schedule", "warmup", "clip_norm"):
            assert setting in rows, setting
        assert "old log-probs" in rows
    sources, deviations = read_told(str(path))
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    assert known & set(deviations) and sources


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_supervised_recipe_says_what_matters_about_its_source(name):
    path = recipes.RECIPES / f"{name}.toml"
    rows = {row.name: row for row in rows_of(path)}
    for setting in ("model", "data", "epochs", "rows", "lr"):
        assert setting in rows, setting
    recipe = read_toml(str(path), SFTConfig)
    assert SFTConfig(**recipe).epochs and Path(recipe["out"]).name == recipe["out"]


def test_the_second_stage_of_simplerl_begins_where_the_first_ends():
    first = read_toml(str(recipes.RECIPES / "sft" / "simplerl-7b.toml"), SFTConfig)
    second = read_toml(str(recipes.RECIPES / "simplerl-7b.toml"), TrainConfig)
    zero = read_toml(str(recipes.RECIPES / "simplerl-zero-7b-ppo.toml"), TrainConfig)
    assert second == {**zero, "model": first["out"]}
    assert second["template"] == first["template"] and first["model"] == zero["model"]


@pytest.mark.parametrize(
    "template, begins, ends",
    [
        (
            "qwen-boxed",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n1+1?\n",
            "within \\boxed{}.<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "logic-rl-instruct",
            "<|im_start|>system\nYou are a helpful assistant. The assistant first thinks",
            "<|im_end|>\n<|im_start|>user\n1+1?\n<|im_end|>\n<|im_start|>assistant\n<think>",
        ),
    ],
)
def test_the_templates_of_instruct_data(template, begins, ends):
    prompt = tasks.prompt(tasks.Problem("arithmetic", "1+1?", "2", ""), template, None)
    assert prompt.startswith(begins) and prompt.endswith(ends)
    assert tasks.stop_strings(template) == ()  # such a model ends by its stop token
