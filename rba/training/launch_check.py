"""Whether as many processes were started as the settings ask for."""

from collections.abc import Mapping, MutableMapping

from rba.errors import InputError


def require_fitting_launch(environment: Mapping[str, str], devices: int, num_nodes: int) -> None:
    """Refuse a launch by torchrun or SLURM with another number of processes, which would hang.

    Without torchrun or SLURM tasks, Lightning starts the processes itself.

    Args:
        environment: The process's.
        devices: A machine.
        num_nodes: Machines.

    Raises:
        InputError: Naming the launcher's setting and ours.
    """
    asked = f"trainer.devices={devices} trainer.num_nodes={num_nodes}"
    if "TORCHELASTIC_RUN_ID" in environment:
        local, world = (int(environment[f"{name}WORLD_SIZE"]) for name in ("LOCAL_", ""))
        if (local, world) != (devices, devices * num_nodes):
            raise InputError(
                f"torchrun started {world} processes, {local} on this machine, but {asked}: give "
                f"torchrun --nproc_per_node={devices} --nnodes={num_nodes}, or set trainer.devices="
                f"{local} trainer.num_nodes={max(world // local, 1)}"
            )
        return
    if (started := int(environment.get("SUBMITIT_LOCAL_NTASKS", 1))) > 1:
        if (started, 1) != (devices, num_nodes):
            raise InputError(
                f"submitit started {started} processes on this machine, but {asked}: give "
                f"hydra.launcher.tasks_per_node={devices}, or set trainer.devices={started} "
                "trainer.num_nodes=1"
            )
        return
    # Lightning takes a job of these names for a shell in which it starts the processes itself.
    if "SLURM_NTASKS" not in environment or environment.get("SLURM_JOB_NAME") in (
        "bash",
        "interactive",
    ):
        return
    tasks = int(environment["SLURM_NTASKS"])
    nodes = int(environment.get("SLURM_NNODES", num_nodes))
    if tasks != devices * num_nodes or nodes != num_nodes:
        raise InputError(
            f"SLURM runs {tasks} tasks on {nodes} nodes, but {asked} need {devices * num_nodes} on "
            f"{num_nodes}: give sbatch --nodes={num_nodes} --ntasks-per-node={devices} and start "
            "with srun"
        )


def tell_place(environment: MutableMapping[str, str]) -> None:
    """Tell Lightning the place of a process that submitit's local executor started.

    In SLURM's jobs, submitit's too, it reads SLURM's own variables.

    Args:
        environment: The process's; changed.
    """
    if int(environment.get("SUBMITIT_LOCAL_NTASKS", 1)) > 1:
        job = int(environment["SUBMITIT_LOCAL_JOB_ID"])  # the number of the job's first process
        environment.setdefault("MASTER_ADDR", "127.0.0.1")
        environment.setdefault("MASTER_PORT", str(_FIRST_PORT + job % _PORTS))
        environment["LOCAL_RANK"] = environment["SUBMITIT_LOCAL_LOCALID"]


_FIRST_PORT, _PORTS = 20_000, 10_000  # below those that systems hand out by themselves
