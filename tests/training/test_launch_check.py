"""Launches by torchrun and SLURM that do not fit the settings are refused at start."""

import pytest

from rba.errors import InputError
from rba.training.launch_check import require_fitting_launch, tell_place

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "8", "WORLD_SIZE": "32"}
SUBMITIT = {"SUBMITIT_LOCAL_NTASKS": "8", "SUBMITIT_LOCAL_JOB_ID": "31234"}
SLURM = {"SLURM_NTASKS": "32", "SLURM_NNODES": "4", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize("environment", [TORCHRUN, SLURM, {}, {"SLURM_NTASKS": "32"}])
def test_a_launch_that_fits_passes(environment: dict[str, str]) -> None:
    require_fitting_launch(environment, 8, 4)


def test_an_interactive_job_starts_its_own_processes() -> None:
    require_fitting_launch({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}, 8, 1)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "words"),
    [
        (TORCHRUN, 4, 4, "torchrun started 32 processes, 8 on this machine"),
        (TORCHRUN, 8, 2, "--nproc_per_node=8 --nnodes=2"),
        (TORCHRUN, 16, 2, "set trainer.devices=8 trainer.num_nodes=4"),
        (SUBMITIT, 4, 1, r"hydra\.launcher\.tasks_per_node=4"),
        (SUBMITIT, 8, 2, r"set trainer\.devices=8 trainer\.num_nodes=1"),
        (SLURM | {"SLURM_NTASKS": "4"}, 8, 4, "SLURM runs 4 tasks on 4 nodes"),
        (SLURM, 16, 2, "--nodes=2 --ntasks-per-node=16"),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, 8, 1, "start with srun"),
    ],
)
def test_another_number_of_processes_is_refused(
    environment: dict[str, str], devices: int, nodes: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        require_fitting_launch(environment, devices, nodes)


def test_submitits_tasks_meet_at_a_port_of_their_job() -> None:
    require_fitting_launch(SUBMITIT, 8, 1)
    environment = SUBMITIT | {"SUBMITIT_LOCAL_LOCALID": "5"}
    tell_place(environment)
    places = {name: environment[name] for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    assert places == {"LOCAL_RANK": "5", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "21234"}
    alone = {"SUBMITIT_LOCAL_NTASKS": "1"}
    tell_place(alone)
    assert alone == {"SUBMITIT_LOCAL_NTASKS": "1"}
