"""A tiny random model with the base's tokenizer: every test runs on a CPU without a network, in seconds."""

import copy
import os
from pathlib import Path

import hypothesis
import pytest
import torch

import engine.device
import model as lm
import reward
import sft
from engine.attention import Causal, Filling

# The pinned files, by the names that storage/pinned.py gives them; tests that need them skip aloud where they are not.
DATA_FOLDER = Path(os.environ.get("ONEZERO_DATA", Path(__file__).parents[2] / "shared" / "data"))
TINY = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
)


def varied(right, parsed, reading):
    """A random model never answers, so every rule pays it the same; this one tells its responses apart.

    Not above 0, so that the length limit takes nothing from it.
    """
    return -(len(reading.thinking) % 7) / 7, 0.0


@pytest.fixture(autouse=True)
def auto_is_the_cpu(monkeypatch):
    """Many tests compare bits, and a GPU adds in no fixed order: what `auto` finds is the CPU here, on any machine."""
    monkeypatch.setattr(engine.device, "best_device", lambda: torch.device("cpu"))


@pytest.fixture
def varied_reward(monkeypatch):
    monkeypatch.setitem(reward.REWARDS, "varied", varied)


def pytest_runtest_setup(item):
    """A test that is marked `gpu` runs on one alone; `least`: the compute capability that it needs."""
    mark = item.get_closest_marker("gpu")
    if mark is None:
        return
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    if torch.cuda.get_device_capability() < mark.kwargs.get("least", (0, 0)):
        pytest.skip("needs a CUDA GPU of Ampere or later")


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu(least): runs on a CUDA GPU alone")
    torch.set_num_threads(2)
    # The machine may be busy: no deadline of an example, no complaint that drawing them is slow.
    patient = dict(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.register_profile("patient", **patient)
    hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def tokenizer():
    return lm.load("base")[1]


def make_tiny(tokenizer, seed=0, **shape):
    """Weights ten times the usual size, so that logits differ enough for a mistake to show."""
    model = sft.new_model({**TINY, **shape}, tokenizer, seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(10) if p.dim() > 1 else p.add_(torch.randn(p.shape) * 0.1)
    return model


@torch.no_grad()
def prefill(model, cache, rows, lengths):
    """Fill the first slots of a cache with rows of ids [B, T], of which the first `lengths` count."""
    attention = Filling(Causal(*rows.shape, rows.device), cache)
    model.hidden(rows.flatten(), attention)
    cache.lengths[: len(rows)] = torch.tensor(lengths, device=rows.device)


@pytest.fixture
def tiny(tokenizer):
    return make_tiny(tokenizer)


@pytest.fixture
def tiny_folder(tmp_path, tokenizer):
    lm.save(tmp_path / "tiny", make_tiny(tokenizer), tokenizer)
    return str(tmp_path / "tiny")


@pytest.fixture
def chatty_folder(tmp_path, tokenizer):
    """The same with a chat template."""
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    lm.save(tmp_path / "chatty", make_tiny(tokenizer), chatty)
    return str(tmp_path / "chatty")
