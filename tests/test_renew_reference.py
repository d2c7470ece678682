"""--renew-reference: the KL term's reference becomes the present weights, and a kill loses none of it."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from test_resume import assert_same_run

import config
import train
from config import read_told
from storage import runs

SMALL = dict(
    prompts_per_step=4,
    group_size=4,
    max_new_tokens=12,
    eval_every=1,  # the last step of a part is not evaluated alone
    eval_problems=2,
    save_every=1,
    lr=1e-3,
    warmup=0,
    reward="varied",
    kl_coef=0.1,
    device="cpu",
    renew_reference=2,
    keep=1,
)

pytestmark = pytest.mark.usefixtures("varied_reward")


def settings(folder, model, **more):
    return train.TrainConfig(out=str(folder), model=model, **{**SMALL, **more})


def go_on(folder, **more):
    given = train.TrainConfig(resume=str(folder), **more)
    train.train(train.resumed(given, {"resume", *more}))


def kl_of(folder) -> list[float]:
    return [line["kl"] for line in runs.read_lines(Path(folder) / runs.METRICS)[1:]]


def reference_of(folder) -> dict:
    file = runs.checkpoints(Path(folder))[-1] / runs.REFERENCE
    return torch.load(file, weights_only=True)["weights"]


def assert_same_reference(a, b):
    one = reference_of(a)
    other = reference_of(b)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_after_every_n_steps_the_distance_is_measured_anew(tmp_path, tiny_folder, algorithm):
    train.train(settings(tmp_path / "run", tiny_folder, steps=3, algorithm=algorithm))
    near = [abs(kl) < 1e-6 for kl in kl_of(tmp_path / "run")]
    assert near == [True, False, True]
    stays = settings(
        tmp_path / "stays", tiny_folder, steps=3, algorithm=algorithm, renew_reference=0
    )
    train.train(stays)
    assert [abs(kl) < 1e-6 for kl in kl_of(tmp_path / "stays")] == [True, False, False]
    assert not (runs.checkpoints(tmp_path / "stays")[-1] / runs.REFERENCE).exists()


@pytest.mark.parametrize(
    "more", [dict(), dict(dtype="bf16", offload_optimizer=True, updates_per_step=2)]
)
def test_a_resumed_run_is_an_undisturbed_one_bit_for_bit(tmp_path, tiny_folder, monkeypatch, more):
    """Stopped before the first renewal and between two of them; one checkpoint is kept."""
    whole = tmp_path / "whole"
    train.train(settings(whole, tiny_folder, steps=5, **more))
    part = tmp_path / "part"
    train.train(settings(part, tiny_folder, steps=1, **more))
    assert not (runs.checkpoints(part)[-1] / runs.REFERENCE).exists()
    for steps in (3, 5):
        go_on(part, steps=steps)
    assert_same_run(whole, part)
    assert_same_reference(whole, part)

    # The fault shows: a run that goes on with another reference.
    forgetful = tmp_path / "forgetful"
    train.train(settings(forgetful, tiny_folder, steps=3, **more))
    real = runs.read_reference
    monkeypatch.setattr(runs, "read_reference", lambda checkpoint, reference: None)
    go_on(forgetful, steps=5)
    monkeypatch.setattr(runs, "read_reference", real)
    with pytest.raises(AssertionError):
        assert_same_run(whole, forgetful)


def test_killed_while_it_is_written_the_run_goes_on_from_the_checkpoint_before(
    tmp_path, tiny_folder, monkeypatch
):
    class Kill(BaseException):
        pass

    real = torch.save

    def save(state, file):
        if runs.REFERENCE in str(getattr(file, "name", file)) and "step-3" in file.name:
            file.write(b"half of it")
            raise Kill
        real(state, file)

    run = tmp_path / "run"
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Kill):
        train.train(settings(run, tiny_folder, steps=4))
    assert [path.name for path in runs.checkpoints(run)] == ["step-2"]
    monkeypatch.setattr(torch, "save", real)
    go_on(run)
    train.train(settings(tmp_path / "whole", tiny_folder, steps=4))
    assert_same_run(tmp_path / "whole", run)
    assert_same_reference(tmp_path / "whole", run)


def test_the_starting_model_may_be_gone_once_it_is_no_reference(tmp_path, tiny_folder):
    run = tmp_path / "run"
    train.train(settings(run, tiny_folder, steps=1))
    start = Path(tiny_folder).rename(tmp_path / "gone")
    with pytest.raises(config.UserError, match="--model PLACE"):
        go_on(run, steps=2)
    start.rename(tiny_folder)
    go_on(run, steps=2)
    shutil.rmtree(tiny_folder)
    go_on(run, steps=3)


def test_a_checkpoint_without_its_reference_is_not_resumed(tmp_path, tiny_folder):
    run = tmp_path / "run"
    train.train(settings(run, tiny_folder, steps=2))
    file = runs.checkpoints(run)[-1] / runs.REFERENCE
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(config.UserError, match="reference.pt is damaged"):
        go_on(run, steps=3)
    file.unlink()
    with pytest.raises(config.UserError, match="has no reference.pt"):
        go_on(run, steps=3)
    file.write_bytes(whole)
    go_on(run, steps=3)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_is_said_of_a_checkpoint_is_what_it_takes(tmp_path, capsys, dtype):
    run = tmp_path / "run"
    train.train(settings(run, "base", steps=1, renew_reference=1, dtype=dtype))
    said = capsys.readouterr().out
    megabytes = float(re.search(r"a checkpoint takes ([\d.]+)MB", said)[1])
    sizes = [path.stat().st_size for path in (run / "checkpoints" / "step-1").iterdir()]
    assert sum(sizes) == pytest.approx(megabytes * 1e6, rel=0.02)


def test_it_needs_a_kl_term_and_its_recipe_names_what_is_published():
    with pytest.raises(config.UserError, match="--renew-reference .* needs a --kl-coef"):
        train.TrainConfig(renew_reference=10)
    recipe = Path(train.__file__).parent / "recipes" / "r1-zero.toml"
    sources, _ = read_told(str(recipe))
    published = [told["renew_reference"] for told in sources.values() if "renew_reference" in told]
    assert published == [400]
    assert config.read_toml(str(recipe), train.TrainConfig)["renew_reference"] == 400
