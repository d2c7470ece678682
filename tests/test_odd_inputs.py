"""Unusual inputs as people come to have them: one clear line, exit status 2, and no file is lost."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from test_errors import refused
from test_sources import SMALL

import config
import eval as evaluation
import model as lm
import sample
import sft
import train
from storage import folders, model_folder, runs


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change_json(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# ---------------------------------------------------------------- settings


def test_an_empty_text_is_refused_wherever_it_is_no_default(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for program, flag in ((sft, "--out"), (sft, "--model"), (evaluation, "--model")):
        assert f"{flag} is empty" in refused(monkeypatch, capsys, program, flag, "")
    assert not any(tmp_path.iterdir())


def test_a_home_folder_in_a_recipe_is_that_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "r.toml").write_text("out = '~/run'")
    recipe = ["--recipe", str(tmp_path / "r.toml")]
    assert config.parse(train.TrainConfig, "", recipe)[0].out == str(tmp_path / "run")
    assert config.parse(sft.SFTConfig, "", ["--out=~/m"])[0].out == str(tmp_path / "m")


@pytest.mark.parametrize(
    "text,says",
    [
        ('out = "a\\u0000b"', "NUL"),
        ("stop = " + "[" * 50_000, "recipe"),
        (f"steps = {10**30}", "too large"),
    ],
)
def test_a_recipe_that_nothing_can_be_made_of(monkeypatch, capsys, tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text)
    assert says in refused(monkeypatch, capsys, train, "--recipe", tmp_path / "r.toml")


def test_any_seed_makes_new_weights(tokenizer):
    shape = sft.BASE_SHAPE | dict(num_hidden_layers=1)
    weights = []
    for seed in (10**30, -(10**30), -1, 2**64 - 1):
        weights.append(sft.new_model(shape, tokenizer, seed).embed_tokens.weight)
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[2], weights[3])  # as torch counts seeds below 0


def test_new_weights_come_from_no_model(monkeypatch, capsys):
    assert "leave out --model" in refused(
        monkeypatch, capsys, sft, "--from-scratch", "--model", "mine"
    )


def test_an_output_that_nobody_reads_is_said_so():
    assert "nobody reads" in config.named(BrokenPipeError(32, "Broken pipe"))


# ---------------------------------------------------------------- model folders


@pytest.mark.parametrize(
    "fields,says",
    [
        ({"model_type": ["qwen2"]}, "model_type ['qwen2']"),
        ({"layer_types": 3}, "layer_types = 3 is not a list"),
        ({"layer_types": [{}]}, "layer_types"),
        ({"vocab_size": 10**13}, "GB"),
        ({"hidden_size": 2**62}, "too large"),
        ({"vocab_size": 10**30}, "too large"),
    ],
)
def test_a_config_of_another_kind(monkeypatch, capsys, tiny_folder, fields, says):
    change_json(Path(tiny_folder) / "config.json", **fields)
    line = refused(monkeypatch, capsys, evaluation, "--model", tiny_folder, "--n", 4)
    assert says in line and tiny_folder in line


def test_brackets_without_end_are_no_json(monkeypatch, capsys, tiny_folder):
    (Path(tiny_folder) / "config.json").write_text('{"a":' + "[" * 200_000)
    assert "not JSON" in refused(monkeypatch, capsys, evaluation, "--model", tiny_folder)


def test_a_model_that_memory_does_not_hold_is_one_line(tiny_folder, monkeypatch):
    real = torch.empty

    def full(shape, **more):
        if more["device"] == "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(shape, **more)

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(config.UserError, match="take 0.0 GB, and there is not so much memory"):
        lm.load(tiny_folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_clone_without_git_lfs_is_named(tiny_folder, name):
    (Path(tiny_folder) / name).write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(config.UserError, match=f"{name} is a pointer of Git LFS"):
        model_folder.check_complete(Path(tiny_folder))


def test_a_file_of_weights_without_permission_is_not_called_missing(tiny_folder):
    weights = Path(tiny_folder) / "model.safetensors"
    weights.chmod(0)
    if os.access(weights, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PermissionError, match="model.safetensors"):
        lm.load(tiny_folder)


# ---------------------------------------------------------------- where a model is written


def test_what_stands_beside_a_model_is_not_lost(monkeypatch, capsys, tiny_folder):
    Path(tiny_folder, "notes.txt").write_text("mine")
    Path(tiny_folder, ".git").mkdir()
    before = contents(Path(tiny_folder))
    argv = ["--model", tiny_folder, "--out", tiny_folder, "--steps", 1, "--rows", 2]
    line = refused(monkeypatch, capsys, sft, *argv)
    assert "beside a model there is .git (2 such in all)" in line
    assert contents(Path(tiny_folder)) == before


def test_a_place_that_cannot_be_written_is_found_before_the_work(
    monkeypatch, capsys, tmp_path, tiny_folder
):
    def no_work(*arguments):
        raise AssertionError("trained in vain")

    monkeypatch.setattr(sft, "supervised_step", no_work)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for out, says in (("file/new", "file"), ("loop", "a link to something that does not exist")):
        argv = ["--model", tiny_folder, "--out", tmp_path / out, "--steps", 1, "--rows", 2]
        assert says in refused(monkeypatch, capsys, sft, *argv)


def test_two_processes_cannot_write_one_model(monkeypatch, capsys, tmp_path, tiny_folder):
    argv = ["--model", tiny_folder, "--out", tmp_path / "new", "--steps", 1, "--rows", 2]
    with folders.claimed(tmp_path / "new"):
        line = refused(monkeypatch, capsys, sft, *argv)
    assert f"{tmp_path / 'new'}: another process is at work on this folder" in line
    monkeypatch.setattr("sys.argv", ["sft.py", *map(str, argv)])
    sft.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "tiny"]


# ---------------------------------------------------------------- files that are read and written


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_neither_read_in_part_nor_replaced(monkeypatch, capsys, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for program in (sft, train, evaluation):
        assert "a pipe or a device" in refused(monkeypatch, capsys, program, "--data", pipe)
    for flag in ("--json", "--save"):
        assert "no file can be written" in refused(monkeypatch, capsys, evaluation, flag, pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(Path("far") / "file")
    folders.write_file(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_text() == "text"


def test_a_file_of_the_model_is_not_written_over(monkeypatch, capsys, tiny_folder):
    before = contents(Path(tiny_folder))
    for flag in ("--json", "--save"):
        argv = ["--model", tiny_folder, flag, Path(tiny_folder) / "config.json"]
        assert "a file of --model" in refused(monkeypatch, capsys, evaluation, *argv)
    assert contents(Path(tiny_folder)) == before


# ---------------------------------------------------------------- runs


@pytest.fixture
def run(tmp_path, tiny_folder, capsys):
    """The folder of a run of two steps."""
    settings = SMALL | dict(steps=2, save_every=1, model=tiny_folder)
    train.train(train.TrainConfig(out=str(tmp_path / "run"), **settings))
    capsys.readouterr()
    return tmp_path / "run"


def test_a_run_that_was_tampered_with_is_refused_in_one_line(run, monkeypatch, capsys):
    def damage(name: str, content: bytes, says: str) -> None:
        whole = (run / name).read_bytes()
        (run / name).write_bytes(content)
        assert says in refused(monkeypatch, capsys, train, "--resume", run, "--steps", 3)
        (run / name).write_bytes(whole)

    settings = json.loads((run / "config.json").read_text())
    for sha256 in ({"model": 3}, {"model": [None]}):
        text = json.dumps(settings | {"sha256": sha256})
        damage("config.json", text.encode(), "is not an object of lists")
    damage("config.json", b'{"a":' + b"[" * 200_000, "not JSON")
    damage("metrics.jsonl", b'{"step": 0}\n{"step": 1}\n{"step": 2}\n', "no seconds")
    damage("metrics.jsonl", b'{"step": 0, "seconds": "x"}\n{"step": 1}\n', "no seconds")


@pytest.mark.parametrize("state", [[1], "text"])
def test_another_programs_trainer_file_is_damaged(run, monkeypatch, capsys, state):
    torch.save(state, run / "checkpoints" / "step-2" / "trainer.pt")
    line = refused(monkeypatch, capsys, train, "--resume", run, "--steps", 3)
    assert "trainer.pt is damaged" in line


@pytest.mark.parametrize("step", ["two", 7])
def test_a_checkpoint_of_another_step_is_not_taken_for_this_one(run, monkeypatch, capsys, step):
    file = run / "checkpoints" / "step-2" / "trainer.pt"
    torch.save(torch.load(file) | {"step": step}, file)
    line = refused(monkeypatch, capsys, train, "--resume", run, "--steps", 3)
    assert f"its step is {step!r}" in line


def test_fewer_steps_than_are_done_change_nothing(run, monkeypatch, capsys):
    before = contents(run)
    line = refused(monkeypatch, capsys, train, "--resume", run, "--steps", 1)
    assert "has done 2 already" in line
    assert contents(run) == before


def test_metrics_that_have_gone_are_missed_aloud(run, monkeypatch, capsys):
    (run / "metrics.jsonl").write_text("")
    line = refused_at_the_end(monkeypatch, capsys, train, "--resume", run)
    assert "no evaluation is in it" in line
    monkeypatch.setattr("sys.argv", ["train.py", "--resume", str(run), "--steps", "3"])
    train.main()
    assert "3 of the lines up to step 2 are missing" in capsys.readouterr().err


def refused_at_the_end(monkeypatch, capsys, program, *argv) -> str:
    """The last line of a program that ends with status 2."""
    monkeypatch.setattr("sys.argv", [program.__name__, *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        config.run_program(program.main)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_model_is_no_run(run, monkeypatch, capsys, tiny_folder):
    for folder in (tiny_folder, run / "checkpoints" / "step-2"):
        assert "is a model, not a run" in refused(monkeypatch, capsys, train, "--resume", folder)
    line = refused(monkeypatch, capsys, train, "--out", tiny_folder)
    assert "is not empty and holds no run" in line


def test_a_new_run_goes_neither_into_a_file_nor_into_a_link_to_nothing(
    monkeypatch, capsys, tmp_path
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for name, says in (("file", "is no folder"), ("loop", "link to something that does not")):
        assert says in refused(monkeypatch, capsys, train, "--out", tmp_path / name)


def test_a_run_that_another_process_made_meanwhile_is_left_alone(
    run, tmp_path, tiny_folder, monkeypatch
):
    new = train.TrainConfig(out=str(tmp_path / "new"), **SMALL | dict(model=tiny_folder))
    old = train.resumed(train.TrainConfig(resume=str(run), steps=3), {"resume", "steps"})
    before = contents(run)
    real = runs.claim

    def claim_late(folder):
        if folder == run:
            folders.remove_folder(run / "checkpoints" / "step-1")
        else:
            (folder / "config.json").write_text("{}")
        return real(folder)

    monkeypatch.setattr(runs, "claim", claim_late)
    with pytest.raises(config.UserError, match="holds a run already"):
        train.open_run(new)
    with pytest.raises(config.UserError, match="another process has worked on this run"):
        train.open_run(old)
    after = contents(run)
    assert after.items() <= before.items() and str(run / "metrics.jsonl") in after


def test_room_is_counted_on_the_disk_where_the_checkpoints_are(run, tmp_path, monkeypatch):
    (run / "checkpoints").rename(tmp_path / "large")
    (run / "checkpoints").symlink_to(tmp_path / "large")
    asked = []
    real = runs.shutil.disk_usage
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda path: asked.append(path) or real(path))
    runs.check_disk(run, 1, 1, 1)
    assert asked == [tmp_path / "large"]


# ---------------------------------------------------------------- what sample.py shows


def test_a_response_that_ends_in_half_a_character_is_shown_to_its_end(tiny, tokenizer, capsys):
    ids = tokenizer("so 中", add_special_tokens=False)["input_ids"][:-1]
    printer = sample.Printer(tiny, tokenizer, 1)
    for token in ids:
        printer.add(0, token)
    printer.close(0, sample.Rollout([1], ids), "")
    text = sample.text_of(tiny, tokenizer, ids)
    assert text.endswith("\ufffd") and f"[1] {text}\n" in capsys.readouterr().out
