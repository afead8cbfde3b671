"""The part of the machine that a job of `hydra/launcher=joblib` has."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from omegaconf import OmegaConf

from ssl_zoo.training.machine import Machine, give_gpus, visible_gpus

ONE = OmegaConf.create({"devices": 1})
TWO = OmegaConf.create({"devices": 2})


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def threads(env: dict[str, str]) -> set[str]:
    assert set(env) == {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}
    return set(env.values())


def test_cores_are_divided_among_jobs_and_their_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with Machine(8, [], at_once=2).part(ONE) as env:
        assert threads(env) == {"4"}
    with Machine(8, [], at_once=2).part(TWO) as env:
        assert threads(env) == {"2"}
    with Machine(2, [], at_once=4).part(ONE) as env:
        assert threads(env) == {"1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with Machine(8, [], at_once=2).part(ONE) as env:
        assert env == {}


def test_each_job_has_a_gpu_of_its_own_and_gives_it_back() -> None:
    machine = Machine(8, ["2", "5"], at_once=2)
    with machine.part(ONE) as first:
        with machine.part(ONE) as second:
            assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("2", "5")
        with machine.part(ONE) as third:
            assert third["CUDA_VISIBLE_DEVICES"] == "5"
    with machine.part(TWO) as both:
        assert both["CUDA_VISIBLE_DEVICES"] == "2,5"


def test_more_jobs_than_gpus_share_them_evenly() -> None:
    machine = Machine(8, ["0", "1"], at_once=4)
    with ExitStack() as jobs:
        envs = [jobs.enter_context(machine.part(ONE)) for _ in range(4)]
        assert sorted(env["CUDA_VISIBLE_DEVICES"] for env in envs) == ["0", "0", "1", "1"]


def test_a_job_waits_until_its_gpus_are_free() -> None:
    machine = Machine(8, ["0", "1"], at_once=2)
    began = threading.Event()

    def job() -> None:
        with machine.part(TWO):
            began.set()

    with machine.part(ONE):
        thread = threading.Thread(target=job)
        thread.start()
        assert not began.is_set()
    thread.join()
    assert began.is_set()


@pytest.mark.parametrize(
    ("given", "gpus"),
    [("0,3", ["0", "3"]), ("GPU-ab, GPU-cd", ["GPU-ab", "GPU-cd"]), ("", []), ("-1", [])],
)
def test_the_gpus_that_the_user_left_visible(
    given: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == gpus


@pytest.mark.slow
@pytest.mark.parametrize(
    ("visible", "devices", "asked", "given", "says"),
    [
        (
            "0,1",
            1,
            None,
            1,
            "each job is on GPU 0, beside the others (hydra.launcher.gpus_per_node=1)",
        ),
        (
            "0,1",
            2,
            None,
            2,
            "each job is on GPUs 0 to 1, beside the others (hydra.launcher.gpus_per_node=2)",
        ),
        ("0,1", 8, None, 2, "gpus_per_node=2"),
        ("0", "auto", None, 1, "gpus_per_node=1"),
        ("0,1", 2, 0, 0, ""),  # as the user says
        ("", 2, None, None, ""),
    ],
)
def test_submitit_s_jobs_on_this_machine_see_its_gpus(
    visible: str,
    devices: int | str,
    asked: int | None,
    given: int | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    name = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
    launcher = {"_target_": name, "gpus_per_node": asked}
    config = OmegaConf.create({"devices": devices, "hydra": {"launcher": launcher}})
    OmegaConf.set_readonly(config, True)
    assert says in (said := give_gpus(config))
    assert bool(said) == bool(says)
    assert config.hydra.launcher.gpus_per_node == given
    other = {"_target_": "BasicLauncher"}
    assert give_gpus(OmegaConf.create({"devices": 1, "hydra": {"launcher": other}})) == ""
