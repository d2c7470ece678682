"""PASS or FAIL of everything that runs differently on a GPU, in a few minutes.

    python bench.py check                      # exit status 1 if anything fails
    python bench.py check --only flash,graphs
    python bench.py check --device cpu         # a rehearsal at small sizes

Each finding is a line `PASS|FAIL|INFO|SKIP name value threshold`, and the JSON file is written anew
with it. Nothing is downloaded: the embedded base, and random weights of a published shape.

On a GPU each section has a process of its own, because a kernel that reads where it must not ends
its process's use of the GPU. Whatever happens in a section is a FAIL of it, and the next one runs.
One that would not end within the time that is left is skipped aloud.
"""

import multiprocessing
import time
from collections import Counter
from dataclasses import asdict, dataclass

from config import UserError, check_settings, parse, setting
from engine.device import pick_device
from speed import check_kernels, check_sampler, check_trainer, measure
from speed.findings import VERDICTS, Bench, Finding, Findings
from speed.memory import SHAPES
from speed.report import Report, check_json, listed


@dataclass(frozen=True)
class Section:
    """A part of the check, and how many seconds it is given on a GPU."""

    run: object  # of a Bench and Findings
    seconds: float  # with the start of its process; guessed, until a GPU has run it


# In the order of what is worth most where time ends.
SECTIONS = {
    "device": Section(check_kernels.check_device, 15),
    "flash": Section(check_kernels.check_flash, 20),
    "varlen": Section(check_kernels.check_varlen, 30),
    "step": Section(check_sampler.check_step, 25),
    "graphs": Section(check_sampler.check_graphs, 50),
    "train": Section(check_trainer.check_train, 100),
    "memory": Section(check_trainer.check_memory, 40),
    "tests": Section(check_trainer.check_tests, 80),
    "update": Section(check_trainer.check_update, 50),
    "decode": Section(check_sampler.check_decode, 40),
    "products": Section(check_kernels.check_products, 25),
    "rollouts": Section(check_sampler.check_rollouts, 50),
}
# A section that takes so many times its seconds hangs.
PATIENCE = 3


@dataclass(frozen=True)
class CheckConfig:
    """What is checked, and in how much time."""

    only: str = setting("", f"sections, separated by commas: {', '.join(SECTIONS)}; empty: all")
    shape: str = setting(
        "auto",
        "shape of the random weights that are timed: a name that `bench.py memory` lists, or tiny; "
        "auto: the largest that trains here without a flag, of 0.5 B and 1.5 B",
    )
    seconds: float = setting(540.0, "time for all sections", above=0)
    json: str = setting("bench-check.json", "write all findings to this file")
    device: str = setting("auto", "auto, cpu or cuda")

    def __post_init__(self):
        check_settings(self)
        for name in listed(self.only):
            if name not in SECTIONS:
                raise UserError(f"--only {name}: choose from {', '.join(SECTIONS)}")
        if self.shape not in ("auto", "tiny", *SHAPES):
            raise UserError(f"--shape {self.shape}: choose auto, tiny, {', '.join(SHAPES)}")
        check_json(self.json)


# ---------------------------------------------------------------- one section


def run_section(name: str, settings: CheckConfig, tell) -> None:
    """A section within its guard: what goes wrong in it becomes a FAIL."""
    findings = Findings(name, tell)
    with findings.guarded():
        bench = Bench(settings.device, settings.shape)
        SECTIONS[name].run(bench, findings)
        measure.synchronize(bench.device)  # an error of the last kernel belongs here


def run_apart(name: str, settings: CheckConfig, seconds: float, tell, work=None) -> None:
    """`run_section` in a process of its own, which may take so many seconds.

    work: what the process does instead of `send_section`.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work or send_section, args=(name, settings, sender))
    deadline = time.monotonic() + seconds
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, deadline - time.monotonic())):
            tell(receiver.recv())
        tell(Finding("FAIL", f"{name}/ended by", f"nothing more within {seconds:.0f} s"))
    except EOFError:  # it has closed its end
        process.join()
        if process.exitcode:
            tell(Finding("FAIL", f"{name}/ended by", f"exit status {process.exitcode}"))
    finally:
        process.kill()
        process.join()
        receiver.close()


def send_section(name: str, settings: CheckConfig, sender) -> None:
    """What the process of a section does."""
    run_section(name, settings, sender.send)
    sender.close()


# ---------------------------------------------------------------- all of them


class Log:
    """Prints each finding, writes it, and counts verdicts."""

    def __init__(self, report: Report):
        self.report = report
        self.verdicts = Counter()

    def tell(self, finding: Finding) -> None:
        self.verdicts[finding.verdict] += 1
        self.report.add(finding.name, asdict(finding), finding.text())


def check(settings: CheckConfig) -> Counter:
    """Run the sections; how often there was each verdict."""
    began = time.monotonic()
    device = pick_device(settings.device)
    log = Log(Report(settings, device))
    names = listed(settings.only) or list(SECTIONS)
    for name in names:
        section = SECTIONS[name]
        left = settings.seconds - (time.monotonic() - began)
        if section.seconds > left:
            why = f"takes {section.seconds:.0f} s, {max(0.0, left):.0f} s are left (--only {name})"
            log.tell(Finding("SKIP", name, why))
        elif device.type == "cuda":
            run_apart(name, settings, min(left, PATIENCE * section.seconds), log.tell)
        else:
            run_section(name, settings, log.tell)
    if device.type != "cuda":
        log.tell(Finding("INFO", "no GPU here", "a rehearsal of the check itself, at small sizes"))
    taken = time.monotonic() - began
    counts = ", ".join(f"{log.verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    log.report.add("verdicts", dict(log.verdicts) | {"seconds": taken}, f"{counts}; {taken:.0f} s")
    return log.verdicts


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(CheckConfig, "PASS or FAIL of everything that a GPU runs differently", argv)
    if check(settings)["FAIL"]:
        raise SystemExit(1)
