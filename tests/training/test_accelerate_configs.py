"""Every file of accelerate_configs/ through accelerate's own parser and launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "accelerate_configs"
EXPECTED = {
    # name: (distributed_type, mixed_precision, processes, machines)
    "cpu": ("NO", "no", 1, 1),
    "single_gpu": ("NO", "bf16", 1, 1),
    "multi_gpu": ("MULTI_GPU", "bf16", 8, 1),
    "fsdp2": ("FSDP", "bf16", 8, 1),
    "deepspeed_zero3": ("DEEPSPEED", "bf16", 8, 1),
    "multi_node": ("MULTI_GPU", "bf16", 16, 2),
}


def launch_args(name: str, *extra: str):
    """What `accelerate launch --config_file …` makes of a file, flags filled in from it."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    args = launch_command_parser().parse_args(["--config_file", str(CONFIGS / f"{name}.yaml"), *extra, "script.py"])
    return _validate_launch_command(args)[0]


def test_every_file_is_expected():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_loads_in_accelerates_parser(name: str):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    found = (config.distributed_type.value, config.mixed_precision, config.num_processes, config.num_machines)
    assert found == EXPECTED[name]
    assert config.use_cpu == (name == "cpu")


def test_fsdp2_reaches_the_workers():
    from accelerate.utils.launch import prepare_multi_gpu_env

    environment = prepare_multi_gpu_env(launch_args("fsdp2", "--main_process_port", "0"))
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    assert environment["FSDP_VERSION"] == "2"
    assert environment["FSDP_RESHARD_AFTER_FORWARD"] == "true"
    assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert environment["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_zero3_reaches_the_launcher():
    args = launch_args("deepspeed_zero3")
    assert args.use_deepspeed
    assert args.zero_stage == 3
    assert args.zero3_init_flag
    assert args.zero3_save_16bit_model
    assert (args.offload_optimizer_device, args.offload_param_device) == ("none", "none")


def test_multi_node_takes_address_and_rank_from_the_command_line():
    from accelerate.utils.launch import prepare_multi_gpu_env

    args = launch_args("multi_node", "--main_process_ip", "10.1.2.3", "--machine_rank", "1")
    prepare_multi_gpu_env(args)
    assert (args.rdzv_endpoint, args.node_rank) == ("10.1.2.3:29500", 1)
    assert (args.nnodes, args.nproc_per_node) == ("2", "8")


def test_cpu_really_launches(tmp_path: Path):
    script = tmp_path / "trivial.py"
    script.write_text(
        "from accelerate import PartialState\n"
        "state = PartialState()\n"
        "print('ran on', state.device.type, 'as', state.process_index, 'of', state.num_processes)\n"
    )
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / "cpu.yaml")]
    done = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ran on cpu as 0 of 1" in done.stdout
