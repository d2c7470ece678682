"""A run goes on with what it was trained on, wherever that lies now, or says in one line why not."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from conftest import make_tiny
from test_errors import refused

import model as lm
import train
from config import UserError
from storage import model_folder, runs

SMALL = dict(
    steps=1, prompts_per_step=2, group_size=2, max_new_tokens=4, eval_problems=4, device="cpu"
)


def problems(path: Path, plus: int = 1) -> Path:
    rows = [{"question": f"What is {i} + {plus}?", "answer": i + plus} for i in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def stored(run) -> dict:
    return json.loads((Path(run) / "config.json").read_text("utf-8"))


def forget_sha256(run) -> None:
    """Make a run look like one of an earlier version."""
    settings = stored(run)
    del settings["sha256"], settings["keep"]
    (Path(run) / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def resume(run, **more):
    settings = train.TrainConfig(resume=str(run), **{"steps": 2, **more})
    return train.train(train.resumed(settings, {"resume", "steps", *more}))


def one_step(folder: Path, tokenizer, **settings) -> Path:
    """A folder with a run of one step, whose paths are given as they are called from there."""
    lm.save(folder / "mymodel", make_tiny(tokenizer), tokenizer)
    problems(folder / "mine.jsonl")
    with contextlib.chdir(folder):
        train.train(train.TrainConfig(out="run", model="mymodel", **SMALL, **settings))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, tokenizer):
    return one_step(tmp_path_factory.mktemp("made"), tokenizer, data="mine.jsonl", kl_coef=0.1)


@pytest.fixture(scope="module")
def made_plain(tmp_path_factory, tokenizer):
    return one_step(tmp_path_factory.mktemp("plain"), tokenizer)


def copied(made: Path, tmp_path: Path, monkeypatch) -> Path:
    """The run in a copy of a folder, as if it had been made there."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "run" / "config.json"
    settings = file.read_text("utf-8").replace(str(made), str(tmp_path))
    file.write_text(settings, encoding="utf-8")
    return tmp_path / "run"


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A run on a file of problems, with a reference model."""
    return copied(made, tmp_path, monkeypatch)


@pytest.fixture
def plain_run(made_plain, tmp_path, monkeypatch):
    """A run on a generated task, without one."""
    return copied(made_plain, tmp_path, monkeypatch)


def test_local_paths_are_kept_absolute_and_what_is_there_by_content(run, tmp_path):
    kept = stored(run)
    for name, place in (("model", "mymodel"), ("data", "mine.jsonl"), ("out", "run")):
        assert kept[name] == str(tmp_path / place)
    assert {name: len(hashes) for name, hashes in kept["sha256"].items()} == {"data": 1, "model": 1}


def test_a_model_is_called_by_what_it_means_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_folder.lasting_name("base") == "base"
    assert model_folder.lasting_name(str(model_folder.PROJECT / "base")) == "base"
    assert model_folder.lasting_name("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"
    (tmp_path / "base").mkdir()  # another one, which hides the embedded one here
    assert model_folder.lasting_name("base") == str(tmp_path / "base")


def test_another_folder_with_a_model_of_the_same_name_changes_nothing(
    run, tmp_path, tokenizer, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    lm.save(elsewhere / "mymodel", make_tiny(tokenizer, seed=1), tokenizer)
    monkeypatch.chdir(elsewhere)
    resume(run)
    # The policy is near the model that it started from, and far from the other.
    assert runs.read_lines(run / "metrics.jsonl")[-1]["kl"] < 0.1


def test_another_model_is_refused_by_name(run, tmp_path, tokenizer, monkeypatch, capsys):
    lm.save(tmp_path / "other", make_tiny(tokenizer, seed=1), tokenizer)
    argv = ["--resume", run, "--steps", 2]
    said = refused(monkeypatch, capsys, train, *argv, "--model", tmp_path / "other")
    assert f"--model {tmp_path / 'other'} is not what this run is trained on (sha256" in said
    shutil.rmtree(tmp_path / "mymodel")
    (tmp_path / "other").rename(tmp_path / "mymodel")  # the name is the same, the content is not
    assert f"--model {tmp_path / 'mymodel'} is not" in refused(monkeypatch, capsys, train, *argv)
    assert len(runs.read_lines(run / "metrics.jsonl")) == 2


def test_another_data_file_is_refused_by_name(run, tmp_path, monkeypatch, capsys):
    argv = ["--resume", run, "--steps", 2]
    before = (run / "config.json").read_bytes()
    problems(tmp_path / "mine.jsonl", plus=2)
    assert f"--data {tmp_path / 'mine.jsonl'} is not" in refused(monkeypatch, capsys, train, *argv)
    (tmp_path / "mine.jsonl").write_text("not even JSON\n")
    assert "is not what this run is trained on" in refused(monkeypatch, capsys, train, *argv)
    assert (run / "config.json").read_bytes() == before
    problems(tmp_path / "mine.jsonl")
    resume(run)


def test_the_file_of_eval_data_is_kept_and_checked_as_that_of_data(
    tmp_path, tokenizer, monkeypatch, capsys
):
    problems(tmp_path / "theirs.jsonl", plus=3)
    run = one_step(tmp_path, tokenizer, data="mine.jsonl", eval_data="theirs.jsonl") / "run"
    capsys.readouterr()
    assert sorted(stored(run)["sha256"]) == ["data", "eval_data", "model"]
    argv = ["--resume", run, "--steps", 2]
    moved = (tmp_path / "theirs.jsonl").rename(tmp_path / "moved.jsonl")
    said = refused(monkeypatch, capsys, train, *argv)
    assert "--eval-data PLACE" in said
    problems(moved, plus=4)
    said = refused(monkeypatch, capsys, train, *argv, "--eval-data", moved)
    assert f"--eval-data {moved} is not what this run" in said
    problems(moved, plus=3)
    resume(run, eval_data=str(moved))


def test_what_has_moved_is_asked_for_and_may_be_given_again(run, tmp_path, monkeypatch, capsys):
    argv = ["--resume", run, "--steps", 2]
    (tmp_path / "new").mkdir()
    for name, flag in (("mine.jsonl", "--data"), ("mymodel", "--model")):
        (tmp_path / name).rename(tmp_path / "new" / name)
        said = refused(monkeypatch, capsys, train, *argv)
        assert f"there is no {tmp_path / name}" in said and f"{flag} PLACE" in said
        argv += [flag, tmp_path / "new" / name]
    resume(run, data="new/mine.jsonl", model="new/mymodel")
    assert stored(run)["data"] == str(tmp_path / "new" / "mine.jsonl")
    assert stored(run)["model"] == str(tmp_path / "new" / "mymodel")
    resume(run, steps=3)


def test_a_starting_model_that_nothing_reads_may_be_gone(plain_run, tmp_path):
    shutil.rmtree(tmp_path / "mymodel")
    kept = stored(plain_run)["sha256"]
    resume(plain_run)  # a checkpoint stands in for it, and without KL there is no reference model
    assert stored(plain_run)["sha256"] == kept


def test_a_run_that_starts_over_does_so_from_the_same_model(
    plain_run, tmp_path, tokenizer, monkeypatch, capsys
):
    shutil.rmtree(plain_run / "checkpoints")
    shutil.rmtree(tmp_path / "mymodel")
    lm.save(tmp_path / "mymodel", make_tiny(tokenizer, seed=1), tokenizer)
    said = refused(monkeypatch, capsys, train, "--resume", plain_run)
    assert f"--model {tmp_path / 'mymodel'} is not what this run is trained on" in said


def test_a_run_of_a_task_takes_no_data(plain_run, tmp_path, monkeypatch, capsys):
    argv = ["--resume", plain_run, "--data", tmp_path / "mine.jsonl"]
    assert "this run has no --data" in refused(monkeypatch, capsys, train, *argv)
    argv = ["--resume", plain_run, "--data-dir", tmp_path]
    assert "--eval-suite" in refused(monkeypatch, capsys, train, *argv)


def test_a_run_of_an_earlier_version_goes_on_and_says_so_in_one_line(run, capsys):
    forget_sha256(run)
    capsys.readouterr()
    resume(run)
    assert capsys.readouterr().out.count("kept no sha256 of --data and --model") == 1
    assert set(stored(run)["sha256"]) == {"data", "model"} and stored(run)["keep"] == 0
    resume(run, steps=3)
    assert "sha256" not in capsys.readouterr().out


def test_sources_that_are_no_hashes_are_refused(run, monkeypatch, capsys):
    settings = stored(run)
    settings["sha256"] = "mine"
    (run / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert "sha256 = 'mine'" in refused(monkeypatch, capsys, train, "--resume", run)


def test_the_parts_of_a_model_count_each(run):
    settings = stored(run)
    settings["sha256"]["model"] *= 2
    (run / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(UserError, match="has 1 files of weights, .* had 2"):
        resume(run)
