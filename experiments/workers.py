"""The bases and all arms with all seeds of an experiment, in this process or in several."""

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import RLock

import torch
from tqdm import tqdm

from experiments import catalogue


def measure_all(name: str, folder: Path, seeds: list[int], jobs: int, device: str) -> dict:
    """Make the bases, then run every arm with every seed; returns {(arm, seed): what was measured}.

    With one job all of it happens in this process, otherwise in `jobs` others.
    """
    arms = catalogue.load(name).ARMS
    pairs = [(arm, seed) for seed, arm in product(seeds, arms)]
    if jobs == 1:
        return measure_here(name, folder, pairs, device)
    return measure_in_processes(name, folder, pairs, jobs, device)


def measure_here(name: str, folder: Path, pairs: list[tuple[str, int]], device: str) -> dict:
    """Make the bases, then run one pair of arm and seed after the other."""
    start_worker()
    prepare_bases(name, folder, device)
    measured = {}
    for arm, seed in pairs:
        measured[arm, seed] = measure_arm(name, folder, arm, seed, device)
    return measured


def measure_in_processes(
    name: str, folder: Path, pairs: list[tuple[str, int]], jobs: int, device: str
) -> dict:
    """Make the bases in one process, then run the pairs of arm and seed in `jobs` of them."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which read it when they start
    with ProcessPoolExecutor(jobs, get_context("spawn"), start_worker) as pool:
        try:
            with ignoring_ctrl_c():
                bases = pool.submit(prepare_bases, name, folder, device)
            bases.result()
            waiting = {}
            with ignoring_ctrl_c():
                for arm, seed in pairs:
                    job = pool.submit(measure_arm, name, folder, arm, seed, device)
                    waiting[arm, seed] = job
            return {pair: job.result() for pair, job in waiting.items()}
        except BaseException:  # Ctrl-C too: nothing that waits is begun, nothing that runs goes on
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.kill()  # a training would finish its step before it heeds SIGTERM
            raise


@contextlib.contextmanager
def ignoring_ctrl_c():
    """Processes that start in here leave Ctrl-C to the one that started them."""
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def start_worker() -> None:
    """What a process does when it starts: it takes a lock for progress bars that is its own.

    The lock that tqdm would make is a semaphore, which stays behind if the process is ended.
    """
    tqdm.set_lock(RLock())


def prepare_bases(name: str, folder: Path, device: str) -> None:
    """Let an experiment make its bases and problems in `folder`.

    It runs alone, on two threads whatever --jobs is, for another number sums in another order.
    """
    torch.set_num_threads(2)
    print(f"{name}: making its bases", file=sys.stderr, flush=True)
    catalogue.load(name).prepare(folder, device)


def measure_arm(name: str, folder: Path, arm: str, seed: int, device: str) -> dict:
    """Run one arm with one seed on one thread; returns what the experiment measured.

    One thread: the matrices are small, and two runs of one thread do more than one of two.
    """
    torch.set_num_threads(1)
    began = time.time()
    measured = catalogue.load(name).measure(folder, arm, seed, device)
    seconds = round(time.time() - began, 1)
    print(f"{name}: {arm}, seed {seed}: {seconds} s", file=sys.stderr, flush=True)
    return {"seed": seed, "seconds": seconds, **measured}
