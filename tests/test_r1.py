"""R1's four stages: each stage is a command, the traces are readable, one step of all of them runs."""

import json
from dataclasses import fields, replace

import pytest
from conftest import varied

import model as lm
import reward
import sft
import tasks
import train
from config import UserError, parse
from evaluation import Response, responses
from experiments import r1


def config_of(tmp_path, model, **settings):
    chosen = dict(
        model=model,
        others="arithmetic",
        keep="all",
        n=6,
        k=2,
        steps=1,
        prompts_per_step=2,
        group_size=2,
        max_new_tokens=8,
        eval_problems=3,
        sft_rows=4,
        out=str(tmp_path / "r1"),
        device="cpu",
    )
    return r1.R1Config(**{**chosen, **settings})


def traces_file(tmp_path):
    path = tmp_path / "traces.jsonl"
    rows = []
    for problem in tasks.make_problems("countdown", "train", 0, 6):
        response = (
            f"we try</think> In short: it is {problem.answer}. <answer>{problem.answer}</answer>"
        )
        rows.append({"prompt": tasks.prompt(problem, "short", None), "response": response})
    r1.write_rows(path, rows)
    return str(path)


def test_one_step_of_every_stage_and_a_second_start_repeats_nothing(
    tmp_path, tiny_folder, monkeypatch
):
    traces = traces_file(tmp_path)
    config = config_of(tmp_path, tiny_folder, task="countdown:3", traces=traces)
    # A tiny random model ends no response by itself, and has no English in it.
    monkeypatch.setattr("evaluation.keeping.fault_of", lambda response: "")
    monkeypatch.setattr(r1, "READABLE", 0.0)
    for name in ("r1", "r1_language", "r1_scenarios"):
        monkeypatch.setitem(reward.REWARDS, name, varied)
    models = r1.all_stages(config)
    assert list(models)[0] == "base" and len(models) == 6
    weights = [lm.load(str(folder))[0].embed_tokens.weight for folder in models.values()]
    for first, second in zip(weights, weights[1:]):
        assert (first != second).any(), "a stage has trained nothing"

    # Stage 3 and stage 1 begin at the base; 2 and 4 where the stage before has ended.
    def started_from(stage):
        run = json.loads((tmp_path / "r1" / stage / "config.json").read_text())
        return run["model"]

    assert started_from("zero") == tiny_folder
    assert started_from("2-reasoning") == str(models["1 cold start"])
    assert started_from("4-all-scenarios") == str(models["3 rejection sampling"])

    def refuse(settings):
        raise AssertionError("a stage that is done is trained again")

    monkeypatch.setattr(train, "train", refuse)
    monkeypatch.setattr(sft, "train", refuse)
    assert r1.all_stages(config) == models


def test_every_stage_is_the_command_that_is_printed(tmp_path, monkeypatch, capsys):
    ran = []

    def keep(settings):
        ran.append(settings)
        return {"loss": 0.0}

    monkeypatch.setattr(train, "train", keep)
    monkeypatch.setattr(sft, "train", keep)
    config = config_of(tmp_path, "base", traces=traces_file(tmp_path))
    r1.reinforce(config, "zero", "base", "r1", 3e-4)
    r1.supervise(config, "1-cold-start", tmp_path / "traces.jsonl")
    other = tmp_path / "other.jsonl"
    r1.supervise(config, "3-rejection-sampling", tmp_path / "drawn.jsonl", saved=True, other=other)
    commands = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(commands) == len(ran) == 3
    for command, settings in zip(commands, ran):
        _, program, *words = command.split(" ")
        kind = {"train.py": train.TrainConfig, "sft.py": sft.SFTConfig}[program]
        monkeypatch.setattr("sys.argv", [program, *words])
        parsed, _ = parse(kind, "")
        for field in fields(kind):
            assert getattr(parsed, field.name) == getattr(settings, field.name), field.name
    assert ran[2].keep == "all" and ran[2].mix == (f"{other}:0.25",) and ran[2].epochs == 2
    assert ran[1].mix == () and ran[1].model == ran[2].model == "base"


def test_a_stage_that_was_interrupted_goes_on(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setitem(reward.REWARDS, "r1", varied)
    monkeypatch.setattr(r1, "SAVE_EVERY", 1)
    config = config_of(tmp_path, tiny_folder, steps=2)
    whole = r1.reinforce(
        replace(config, out=str(tmp_path / "whole")), "zero", tiny_folder, "r1", 3e-4
    )
    real_step = train.train_step

    def stop_at_the_second(run):
        if run.step == 1:
            raise KeyboardInterrupt
        return real_step(run)

    monkeypatch.setattr(train, "train_step", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        r1.reinforce(config, "zero", tiny_folder, "r1", 3e-4)
    monkeypatch.setattr(train, "train_step", real_step)
    resumed = r1.reinforce(config, "zero", tiny_folder, "r1", 3e-4)
    assert resumed != whole
    for name in ("model.safetensors", "optimizer.pt"):
        if (whole / name).exists():
            assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_summary_by_rule_is_the_last_line_of_the_thinking():
    response = "3+4=7\n7*2=14 yes</think> <answer>(3+4)*2</answer>"
    expected = "3+4=7\n7*2=14 yes</think> 7*2=14 yes <answer>(3+4)*2</answer>"
    assert r1.with_summary(response) == expected
    for odd in ("no end of thinking", "</think> <answer>1</answer>", ""):
        assert r1.with_summary(odd) == odd


@pytest.mark.parametrize(
    "response, readable",
    [
        ("so yes</think> In short: 7. <answer>7</answer>", True),
        ("so yes</think> <answer>7</answer>", False),  # no summary
        ("3+4=7</think> In short: 7. <answer>7</answer>", False),  # no words
        ("所以 yes</think> In short: 7. <answer>7</answer>", False),  # mixed
    ],
)
def test_what_is_readable(response, readable):
    assert r1.is_readable(response) == readable


def test_traces_are_the_right_and_readable_responses_alone(tmp_path, monkeypatch):
    drawn = tasks.make_problems("countdown", "train", "traces/0", 6)

    def graded_by_hand(config, loaded, problems, k, name, before=""):
        assert [problem.key for problem in problems] == [problem.key for problem in drawn]
        groups = []
        for i, problem in enumerate(problems):
            answers = (problem.answer, "1+1")
            thinking = "we try" if i % 2 == 0 else "1+1=2"
            texts = [f"{thinking}</think> <answer>{answer}</answer>" for answer in answers]
            made = [Response(text, 5, True) for text in texts]
            groups.append(responses.grade(problem, made, "dr_grpo"))
        return groups

    monkeypatch.setattr(r1, "answer", graded_by_hand)
    config = config_of(tmp_path, "base")
    path = r1.cold_start_traces(config, "base")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [
        tasks.prompt(problem, "short", None) for problem in drawn[::2]
    ]
    for row, problem in zip(rows, drawn[::2]):
        assert row["response"] == (f"we try</think> we try <answer>{problem.answer}</answer>")


def test_no_readable_trace_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(r1, "answer", lambda *settings: [])
    with pytest.raises(UserError, match="--traces"):
        r1.cold_start_traces(config_of(tmp_path, "base"), "base")


def test_examples_stand_before_every_prompt(tmp_path, monkeypatch):
    config = config_of(tmp_path, "base", examples=traces_file(tmp_path))
    model, tokenizer = lm.load("base")
    before = r1.few_shot(config, tokenizer)
    assert before.count("<answer>") == 6 and before.endswith("</answer>\n\n")
    seen = []

    def keep(model, tokenizer, prompts, *settings, **others):
        seen.extend(prompts)

    monkeypatch.setattr("sample.generate", keep)
    r1.generate_after(model, tokenizer, [[7, 8], [9]], before=before)
    ids = tokenizer(before)["input_ids"]
    assert seen == [ids + [7, 8], ids + [9]]


def test_the_manner_of_responses():
    problem = tasks.make_problems("countdown", "train", 0, 1)[0]
    texts = [
        "so yes</think> In short: 7. <answer>7</answer>",
        "我们</think> damn <answer>7</answer>",
        "3+4=7</think> <answer>7</answer>",
        "3+4",
    ]
    groups = []
    for i, text in enumerate(texts):
        made = [Response(text, 10 * (i + 1), finished=i < 3)]
        groups.append(responses.grade(problem, made, "dr_grpo"))
    assert r1.manner(groups) == {
        "language": 0.5,
        "words": 1.0,
        "wordless": 0.5,
        "summary": 0.5,
        "forbidden": 0.25,
        "tokens": 25.0,
        "cut off": 0.25,
    }
    wordless = r1.manner(groups[2:])
    assert wordless["language"] is None
    lines = r1.table_of({"base": wordless, "zero": r1.manner(groups)}).splitlines()
    assert lines[2].startswith("| base |  | 0.0 | 1.000 |")
    assert lines[3].startswith("| zero | 0.500 | 1.0 | 0.500 |")


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="choose one"):
        r1.R1Config(traces="a", examples="b")
    with pytest.raises(UserError, match="chess"):
        r1.R1Config(others="kk,chess")
    assert r1.R1Config(others="").other_tasks() == []


def test_stages_made_with_other_settings_are_not_taken_for_ours(tmp_path, tiny_folder):
    config = config_of(tmp_path, tiny_folder)
    r1.keep_settings(config)
    r1.keep_settings(config)
    r1.keep_settings(replace(config, eval_problems=5, device="auto"))  # these make no stage
    with pytest.raises(UserError, match="--task, --seed"):
        r1.keep_settings(replace(config, task="kk:2", seed=1))
    (tmp_path / "r1" / "settings.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        r1.keep_settings(config)
