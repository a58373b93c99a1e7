"""The place of a process among those started together, from the variables that each starter really sets."""

import pytest

from sgexp.ranks import Place, place

# A step's process of a two-node job, and the job's script, as Slurm 22.05 sets them.
JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
STEP = JOB | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
JSRUN = {"JSM_NAMESPACE_RANK": "5", "JSM_NAMESPACE_SIZE": "12", "JSM_NAMESPACE_LOCAL_RANK": "5", "LSB_JOBID": "9"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Place()),
        (STEP, Place(1, 2, 0, "srun")),
        (TORCHRUN, Place(3, 4, 1, "torchrun")),
        (JSRUN, Place(5, 12, 5, "jsrun")),
        (STEP | TORCHRUN, Place(3, 4, 1, "torchrun")),  # torchrun on each node, started by srun
        (JOB, Place()),  # an sbatch script without srun: one process, whatever the job's number of tasks
        (STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Place()),  # srun --pty bash, submitit with one task
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "RANK": "1"}, Place()),  # left behind by something else
    ],
)
def test_the_starter_says_which_process_this_is(environment, expected):
    assert place(environment) == expected
