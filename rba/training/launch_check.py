"""Whether as many processes were started as the settings ask for."""

from collections.abc import Mapping

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
