"""`bench.py check` runs on a CPU, its guards hold, and each of its judgements can fail."""

import json
import os
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from flash_cpu import flash_forward

import bench
import sample
from config import UserError
from engine import attention
from engine.decoder import Decoder
from speed import check, check_kernels, check_sampler, check_trainer
from speed.findings import Bench, Finding, Findings

SETTINGS = check.CheckConfig(device="cpu", json=os.devnull)


def run(monkeypatch, tmp_path, *arguments) -> tuple[int, dict]:
    """(exit status, what the file says) of the command on a CPU."""
    place = tmp_path / "check.json"
    fixed = ["bench.py", "check", "--device", "cpu", "--json", str(place)]
    monkeypatch.setattr(sys, "argv", [*fixed, *arguments])
    status = 0
    try:
        bench.main()
    except SystemExit as error:
        status = error.code
    return status, json.loads(place.read_text())


def findings_of(section) -> list[Finding]:
    """What a section says on a CPU."""
    found = []
    section(Bench("cpu", "tiny"), Findings("here", found.append))
    return found


def failed(found: list[Finding]) -> list[str]:
    return [finding.name for finding in found if finding.verdict == "FAIL"]


# ---------------------------------------------------------------- the command


def test_all_sections_run_on_a_cpu_and_say_what_they_cannot(monkeypatch, tmp_path, capsys):
    status, found = run(monkeypatch, tmp_path, "--seconds", "1e9")
    lines = [value for value in found.values() if isinstance(value, dict) and "verdict" in value]
    assert status == 0 and not [line for line in lines if line["verdict"] == "FAIL"]
    said = capsys.readouterr().out
    for section in check.SECTIONS:
        of_section = [line for line in lines if line["name"].startswith(section + "/")]
        assert of_section, section
        for line in of_section:
            assert f"{line['verdict']}  {line['name']}  {line['value']}" in said
    counted = Counter(line["verdict"] for line in lines)
    assert counted == {name: n for name, n in found["verdicts"].items() if name != "seconds"}
    assert counted["PASS"] > 60 and counted["INFO"] > 15 and counted["SKIP"] > 5
    # What only a GPU can do says so, and why.
    for name in ("step/waits", "graphs/capture", "tests/marked for a GPU"):
        assert found[name]["verdict"] == "SKIP" and found[name]["value"]


def test_an_exception_in_a_section_is_a_line_and_the_rest_goes_on(monkeypatch, tmp_path):
    def broken(bench, findings):
        findings.info("before", 1)
        raise RuntimeError("CUDA error: an illegal\nmemory access")

    monkeypatch.setitem(check.SECTIONS, "flash", check.Section(broken, 1))
    status, found = run(monkeypatch, tmp_path, "--only", "flash,device")
    assert status == 1
    assert found["flash/before"]["verdict"] == "INFO"
    ended = found["flash/ended by"]
    assert ended["verdict"] == "FAIL"
    assert "RuntimeError: CUDA error: an illegal memory access" in ended["value"]
    assert "broken" in ended["detail"]
    assert found["device/name"]["value"] == "CPU"


def test_a_part_that_fails_leaves_the_others_of_its_section(monkeypatch):
    def breaks_when_offloaded(config):
        if config.offload_optimizer:
            raise RuntimeError("the copy went wrong")

    done = [dict(step=step, reward=0.0) for step in (1, 2, 3)]
    monkeypatch.setattr(check_trainer.train, "train", breaks_when_offloaded)
    monkeypatch.setattr(check_trainer.train, "resumed", lambda config, given: config)
    monkeypatch.setattr(check_trainer, "steps_of", lambda folder: done)
    monkeypatch.setattr(check_trainer, "judge", lambda findings, name, _: findings.info(name, 1))
    found = findings_of(check_trainer.check_train)
    assert failed(found) == ["here/offloaded, ended by"]
    assert len(found) == len(check_trainer.VARIANTS) + 2


def test_what_would_take_too_long_is_skipped_aloud(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "time", SimpleNamespace(monotonic=lambda: 0.0))  # however busy it is
    status, found = run(monkeypatch, tmp_path, "--seconds", "99", "--only", "train,device")
    assert status == 0 and found["train"]["verdict"] == "SKIP"
    assert "takes 100 s" in found["train"]["value"]
    assert found["device/name"]["verdict"] == "INFO"
    assert sum(section.seconds for section in check.SECTIONS.values()) < 9 * 60


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--only", "flesh"], "--only flesh: choose from device, flash"),
        (["--shape", "qwen9"], "--shape qwen9: choose auto, tiny"),
        (["--seconds", "0"], "--seconds must be above 0"),
    ],
)
def test_what_the_user_can_mend_is_one_line(monkeypatch, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, tmp_path, *arguments)


# ---------------------------------------------------------------- a process a section


def dies(name, settings, sender):
    sender.send(Finding("PASS", "here/before", "1"))
    os._exit(3)


def hangs(name, settings, sender):
    sender.recv()  # nothing ever comes


def test_a_section_in_a_process_of_its_own_says_the_same():
    apart = []
    check.run_apart("tests", SETTINGS, 300, apart.append)
    here = []
    check.run_section("tests", SETTINGS, here.append)
    assert apart == here and here


def test_a_process_that_dies_or_hangs_is_a_failure_of_its_section():
    found = []
    check.run_apart("here", SETTINGS, 300, found.append, dies)
    assert [finding.verdict for finding in found] == ["PASS", "FAIL"]
    assert "exit status 3" in found[1].value
    found.clear()
    check.run_apart("here", SETTINGS, 0.01, found.append, hangs)
    assert [finding.verdict for finding in found] == ["FAIL"]
    assert "nothing more within" in found[0].value


# ---------------------------------------------------------------- judgements


def test_a_judgement_is_of_its_number():
    found = []
    findings = Findings("here", found.append)
    findings.below("a", 1.0, 2.0)
    findings.below("b", 3.0, 2.0)
    findings.below("c", float("nan"), 2.0)
    findings.above("d", 3.0, 2.0)
    findings.above("e", float("nan"), 2.0)
    findings.holds("f", True, "yes")
    assert failed(found) == ["here/b", "here/c", "here/e"]
    assert found[0].text() == "PASS  here/a  1  (at most 2)"


def ignores_lengths(q, k, v, query_ends, key_begins, *rest, scale, seqused_k):
    whole = key_begins.diff()
    return flash_forward(q, k, v, query_ends, key_begins, *rest, scale=scale, seqused_k=whole)


def takes_other_lengths(*arguments, scale, seqused_k):
    return flash_forward(*arguments, scale=scale, seqused_k=seqused_k.roll(2))


@pytest.mark.parametrize("operation", [flash_forward, ignores_lengths, takes_other_lengths])
def test_flash_with_wrong_lengths_fails(monkeypatch, operation):
    monkeypatch.setattr(Bench, "why_no_kernel", lambda *_: "")
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", operation)
    found = findings_of(check_kernels.check_flash)
    judged = [finding for finding in found if "H/K" in finding.name]
    assert len(judged) == 6 and all("flash" in finding.name for finding in judged)
    wrong = [finding for finding in judged if finding.verdict == "FAIL"]
    assert len(wrong) == (0 if operation is flash_forward else 6)


def test_packed_rows_that_see_their_neighbours_fail(monkeypatch):
    plain = attention.attend_one_by_one

    def as_one_row(q, k, v, queries, keys):
        return plain(q, k, v, [sum(queries)], [sum(keys)])

    assert failed(findings_of(check_kernels.check_varlen)) == []
    monkeypatch.setattr(attention, "attend_one_by_one", as_one_row)
    wrong = failed(findings_of(check_kernels.check_varlen))
    assert any("packed, fp32" in name for name in wrong)
    assert any("after shared prompts, bf16" in name for name in wrong)


def test_a_gradient_that_is_lost_fails(monkeypatch):
    attend = attention.Packed.attend
    monkeypatch.setattr(
        attention.Packed, "attend", lambda self, layer, q, k, v: attend(self, 0, q, k * 1, v + 0.01)
    )
    assert any("packed" in name for name in failed(findings_of(check_kernels.check_varlen)))


def test_a_product_in_a_shorter_type_than_fp32_fails(monkeypatch):
    product = torch.Tensor.__matmul__

    def rounded(left, right):
        if left.dtype == torch.float32:
            left = left.bfloat16().float()
        return product(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert failed(findings_of(check_kernels.check_precision)) == ["here/error of a product in fp32"]


def test_ids_that_differ_without_graphs_fail(monkeypatch):
    generate = sample.generate

    def other_seed(*arguments, check_every, **more):
        rollouts = generate(*arguments, check_every=check_every, **more)
        if check_every == 1:
            rollouts[0].response[-1] += 1
        return rollouts

    monkeypatch.setattr(sample, "generate", other_seed)
    found = findings_of(check_sampler.check_graphs)
    assert len(failed(found)) == 16 and "1 of 4 rollouts differ" in found[1].value


def test_an_id_without_probability_fails(monkeypatch):
    draw = sample.draw
    monkeypatch.setattr(
        sample, "draw", lambda *of: (draw(*of)[0], draw(*of)[1].fill_(float("-inf")))
    )
    assert len(failed(findings_of(check_sampler.check_step))) == 16


@pytest.fixture
def disguised(monkeypatch):
    """A CPU that takes the way of a GPU; what it sets of torch.cuda is kept in a list."""
    kept = []
    properties = SimpleNamespace(name="H100", total_memory=int(80e9))
    answers = {
        "get_device_properties": lambda device: properties,
        "get_device_capability": lambda *device: (9, 0),
        "is_bf16_supported": lambda including_emulation: True,
        "mem_get_info": lambda: (int(79e9), int(80e9)),
        "set_sync_debug_mode": kept.append,
        "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": lambda: 3 * 10**7,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    make = Bench.__init__

    def on_gpu(bench, *arguments):
        make(bench, *arguments)
        bench.on_gpu = True

    monkeypatch.setattr(Bench, "__init__", on_gpu)
    monkeypatch.setattr(Bench, "dtypes", [torch.float32])
    return kept


def test_a_gpus_step_is_watched_for_waits_and_then_no_more(disguised):
    found = findings_of(check_sampler.check_step)
    assert len(found) == 8 and not failed(found)
    assert disguised == ["error", "default"] * 8


def test_a_capture_that_changes_a_row_fails(monkeypatch, disguised):
    for fault, wrong in ((False, 0), (True, 8)):

        def capture(decoder, slots, positions, step, sampling, fault=fault):
            decoder.count[0] += fault
            return check_sampler.Eager(decoder, slots, positions, step, sampling)

        monkeypatch.setattr(Decoder, "capture", capture)
        found = findings_of(check_sampler.check_graphs)
        buffers = [finding for finding in found if "buffers" in finding.name]
        assert len(buffers) == 8 and len(failed(buffers)) == wrong


def test_a_peak_that_is_not_the_estimates_fails(monkeypatch, disguised):
    bench = Bench("cpu", "tiny")
    found = []
    check_trainer.check_update(bench, Findings("here", found.append))
    assert len(failed(found)) == 3 and all(
        "error of the estimate" in name for name in failed(found)
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**7, int(80e9)))
    found.clear()
    check_trainer.check_update(bench, Findings("here", found.append))
    assert [finding.verdict for finding in found] == ["SKIP"]


def test_the_shape_that_is_timed_is_one_that_the_card_holds(monkeypatch, disguised):
    bench = Bench("cpu", "tiny")
    for gb, name in ((80, "qwen2.5-1.5b"), (24, "qwen2.5-0.5b")):
        card = SimpleNamespace(total_memory=int(gb * 1e9))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, card=card: card)
        assert bench.fitting_shape() == name


def test_the_eager_stand_in_of_a_graph_runs_the_step(tiny):
    decoder = check_sampler.busy_decoder(tiny, [3, 5], 4)
    with torch.no_grad():
        check_sampler.Eager(decoder, 2, 8, sample.decode_step, sample.Sampling(4)).replay()
    assert decoder.count.tolist() == [1, 1]


def test_a_run_whose_sampler_and_trainer_disagree_fails(monkeypatch):
    lines = [dict(step=step, logprob_gap_mean=0.03, logprob_gap_max=0.5) for step in (1, 2, 3)]
    for line in lines:
        line |= dict(seconds_sample=1.0, seconds_update=1.0, tokens_per_second=1.0)
    monkeypatch.setattr(check_trainer, "steps_of", lambda folder: lines)
    found = []
    check_trainer.judge(Findings("here", found.append), "fp32", None)
    assert failed(found) == ["here/fp32, logprob_gap_mean", "here/fp32, logprob_gap_max"]
    lines.pop()
    check_trainer.judge(Findings("here", found.append), "bf16", None)
    assert "here/bf16, steps" in failed(found)


def test_memory_that_runs_out_unguarded_fails(monkeypatch):
    monkeypatch.setattr(check_trainer, "refused", lambda *of: "CUDA out of memory")
    monkeypatch.setattr(check_trainer, "halved_once", lambda *of: None)
    assert len(failed(findings_of(check_trainer.check_memory))) == 3


# ---------------------------------------------------------------- the tests of a GPU

OF_PYTEST = """
import pytest

@pytest.mark.gpu
def test_right():
    pass

@pytest.mark.gpu
def test_wrong():
    assert 1 == 2

@pytest.mark.gpu
def test_left_out():
    pytest.skip("not here")
"""


def test_each_test_that_pytest_runs_is_a_line(tmp_path):
    place = tmp_path / "test_three.py"
    place.write_text(OF_PYTEST)
    found = []
    findings = Findings("tests", found.append)
    check_trainer.run_tests(findings, [str(place), "-p", "no:cacheprovider"], 300)
    verdicts = {finding.name: finding.verdict for finding in found}
    assert verdicts == {
        "tests/test_three::test_right": "PASS",
        "tests/test_three::test_wrong": "FAIL",
        "tests/test_three::test_left_out": "SKIP",
    }
    found.clear()
    check_trainer.run_tests(findings, [str(tmp_path / "nothing.py")], 300)
    assert failed(found) == ["tests/pytest"]


def test_a_test_for_a_gpu_is_marked_and_skips_where_there_is_none(request):
    marked = []
    for item in request.session.items:
        if item.get_closest_marker("gpu"):
            marked.append(item.name)
    if len(request.session.items) > 1000:  # the whole suite
        assert len(marked) >= 10
