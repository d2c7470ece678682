"""There is one transformer: who changes the model changes the sampler, and a run that lies stops."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import make_tiny

import grpo
import model as lm
import sample
import train
from config import UserError
from engine import attention
from engine import optimizer as optim
from engine.attention import Cached
from sample import Sampling

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]


def rollouts_of(model, tokenizer):
    return sample.generate(model, tokenizer, PROMPTS, Sampling(30), n=4, seed=3)


def gap(model, rollouts) -> float:
    """The largest difference of a log-prob between sampler and trainer."""
    prompts = [r.prompt for r in rollouts]
    responses = [r.response for r in rollouts]
    found, _ = lm.response_logprobs(model, prompts, responses)
    differences = []
    for row, rollout in zip(found.detach(), rollouts):
        drawn = torch.tensor(rollout.logprobs)
        differences.append((row[: len(drawn)] - drawn).abs().max().item())
    return max(differences)


# ---------------------------------------------------------------- changes of the model


def other_activation(self, x):
    gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
    return self.down_proj(F.gelu(gate) * up)


def other_norm(self, x):
    return F.layer_norm(x, x.shape[-1:], self.weight, None, self.eps)


def other_rotation(x, cos, sin):
    return x * cos - x.roll(x.shape[-1] // 2, -1) * sin


class OtherProjection(torch.nn.Linear):
    """A product with a low-rank part beside it."""

    def forward(self, x):
        extra = torch.ones(self.out_features, 1) @ torch.linspace(-1, 1, self.in_features)[None]
        return F.linear(x, self.weight + 0.1 * extra, self.bias)


def change(model, monkeypatch, what: str) -> None:
    if what == "activation":
        monkeypatch.setattr(lm.MLP, "forward", other_activation)
    elif what == "norm":
        monkeypatch.setattr(lm.RMSNorm, "forward", other_norm)
    elif what == "rotation":
        monkeypatch.setattr(lm, "rotate", other_rotation)
    else:
        path = {
            "q, k, v": "self_attn.qkv_proj",
            "output": "self_attn.o_proj",
            "mlp": "mlp.down_proj",
        }
        for layer in model.layers:
            layer.get_submodule(path[what]).__class__ = OtherProjection


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("shape", [dict(), dict(model_type="qwen3", head_dim=16)])
@pytest.mark.parametrize("what", ["activation", "norm", "rotation", "q, k, v", "output", "mlp"])
def test_a_change_of_the_model_changes_sampler_and_trainer_alike(
    tokenizer, monkeypatch, what, shape, packs
):
    model = make_tiny(tokenizer, **shape)
    monkeypatch.setattr(lm.Transformer, "packs", packs)
    before = rollouts_of(model, tokenizer)
    assert gap(model, before) < 1e-4
    change(model, monkeypatch, what)
    after = rollouts_of(model, tokenizer)
    assert gap(model, after) < 1e-4
    assert gap(model, before) > 1e-2  # the change is one


def test_a_change_of_the_decoding_attention_alone_shows(tiny, tokenizer, monkeypatch):
    exact = attention.attend_written_out

    def forgetful(q, keys, values, mask):
        return exact(q, keys, values * 1.1, mask)

    monkeypatch.setattr(attention, "attend_written_out", forgetful)
    assert gap(tiny, rollouts_of(tiny, tokenizer)) > 1e-2


# ---------------------------------------------------------------- a run that lies stops


def settings(out, model, **more):
    fixed = dict(
        out=str(out),
        model=model,
        steps=2,
        prompts_per_step=2,
        group_size=4,
        max_new_tokens=12,
        eval_problems=2,
        reward="varied",
        device="cpu",
    )
    return train.TrainConfig(**{**fixed, **more})


@pytest.fixture
def lying_sampler(monkeypatch):
    """Decoding sees its values a hundredth larger than they are."""
    exact = Cached.attend

    def attend(self, layer, q, k, v):
        return exact(self, layer, q, k, 1.01 * v)

    monkeypatch.setattr(Cached, "attend", attend)


def test_a_difference_planted_in_the_sampler_stops_the_run(
    tmp_path, tiny_folder, varied_reward, lying_sampler
):
    with pytest.raises(UserError, match="disagree before the first update.*0.001 is allowed"):
        train.train(settings(tmp_path / "stopped", tiny_folder))
    lines = (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0]  # nothing was updated, nothing saved
    assert not (tmp_path / "stopped" / "checkpoints").exists()
    for limit in (0.0, 100.0):
        assert train.train(settings(tmp_path / str(limit), tiny_folder, max_logprob_gap=limit))


def test_an_honest_run_goes_on_also_when_later_updates_differ(tmp_path, tiny_folder, varied_reward):
    found = train.train(
        settings(tmp_path / "run", tiny_folder, updates_per_step=2, lr=0.05, warmup=0)
    )
    assert found["steps"] == 2  # the second update of a step is meant to differ from the sampler


@pytest.mark.parametrize("dtype,limit", [(torch.float32, 1e-3), (torch.bfloat16, 0.1)])
def test_the_limit_is_of_the_largest_gap_in_fp32_and_of_the_mean_in_bf16(dtype, limit):
    of_mean = dtype == torch.bfloat16
    for size in (0.9 * limit, 1.1 * limit, float("nan")):
        stats = {"tokens": 4, "gap_sum": 4 * size, "gap_max": 50.0 if of_mean else size}
        if size < limit:
            train.check_gap(stats, 1e-3, dtype)
            continue
        with pytest.raises(UserError, match="max-logprob-gap"):
            train.check_gap(stats, 1e-3, dtype)
        train.check_gap(stats, 0.0, dtype)


@pytest.mark.parametrize("place", [0, 5, 11])
def test_a_gap_that_is_no_number_is_seen_in_any_micro_batch(tiny, tokenizer, place):
    rollouts = rollouts_of(tiny, tokenizer)
    rollouts[place].logprobs[0] = float("nan")
    advantage = torch.linspace(-1, 1, len(rollouts))
    c = train.TrainConfig(token_budget=1)  # a row a micro-batch
    with pytest.raises(UserError, match="differs by nan"):
        train.update(tiny, optim.MasterAdamW(tiny), rollouts, advantage, 1e-3, c, on_policy=True)


def test_a_refused_update_moves_no_weight(tiny, tokenizer):
    rollouts = rollouts_of(tiny, tokenizer)
    for rollout in rollouts:
        rollout.logprobs = [logprob - 0.5 for logprob in rollout.logprobs]
    optimizer = optim.MasterAdamW(tiny)
    before = [p.detach().clone() for p in tiny.parameters()]
    advantage = torch.linspace(-1, 1, len(rollouts))
    c = train.TrainConfig()
    with pytest.raises(UserError, match="differs by 0.5"):
        train.update(tiny, optimizer, rollouts, advantage, 1e-3, c, on_policy=True)
    assert all(torch.equal(p, q) for p, q in zip(tiny.parameters(), before))
    assert all(p.grad is None for p in tiny.parameters())
    train.update(tiny, optimizer, rollouts, advantage, 1e-3, c)
    assert grpo.LOSSES and not torch.equal(before[0], tiny.embed_tokens.weight)


# ---------------------------------------------------------------- weights in files


def test_the_table_of_fused_weights_covers_every_row_once(tokenizer):
    shapes = (
        dict(),
        dict(model_type="qwen3", head_dim=16),
        dict(model_type="llama", mlp_bias=True),
    )
    for shape in shapes:
        model = make_tiny(tokenizer, **shape)
        covered = {name: [] for name, _ in model.named_parameters()}
        for ours, rows in lm.checkpoint_layout(model).values():
            covered[ours] += range(rows.start, rows.stop)
        for name, parameter in model.named_parameters():
            assert covered[name] == list(range(len(parameter))), name


def test_a_checkpoint_of_an_earlier_version_loads_and_its_trainer_state_is_refused(
    tmp_path, tiny_folder, varied_reward
):
    train.train(settings(tmp_path / "run", tiny_folder, save_every=1))
    checkpoint = tmp_path / "run" / "checkpoints" / "step-2"
    state = torch.load(checkpoint / "trainer.pt", weights_only=True)
    del state["names"]  # an earlier version did not write them
    torch.save(state, checkpoint / "trainer.pt")
    lm.load(str(checkpoint))
    with pytest.raises(UserError, match="earlier version.*--model"):
        train.train(
            train.resumed(
                train.TrainConfig(resume=str(tmp_path / "run"), steps=3), {"resume", "steps"}
            )
        )
    shutil.rmtree(checkpoint)
    assert Path(tmp_path / "run" / "checkpoints" / "step-1").is_dir()
    resumed = train.resumed(
        train.TrainConfig(resume=str(tmp_path / "run"), steps=3), {"resume", "steps"}
    )
    assert train.train(resumed)["steps"] == 3
