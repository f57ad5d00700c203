"""Every operator of TensorFlow's registry is either allowed in a SavedModel by name, or not at all."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tledge.saved_models.operators import IMAGE_NETWORK, SAVER, STATEFUL

# Whatever else a new version brings: what its name tells of is not allowed.
MACHINE = re.compile(
    r"File|Read(?!VariableOp)|Write|Save|Restore|Print|Py[A-Z]|Debug|Dataset|Iterator|Socket|Rpc|Summary|Abort|Sleep|Send|Recv|Dump"
    r"|Table|Encode|Decode|Parse|Queue|Barrier|Stage|Collective|Tpu|TPU|Remote|Session|Record|Load|Vocab|Sampler|Checkpoint"
    r"|Device|Immutable|Timestamp|Infeed|Outfeed|Thread|String|Nccl|Service|Deadline"
)
IN_MEMORY = {"TensorArrayReadV3", "TensorArrayWriteV3", "DisableCopyOnRead", "RngReadAndSkip"}  # lists and variables


@pytest.fixture(scope="module")
def registry() -> dict[str, Any]:
    import tensorflow as tf  # noqa: F401 - it fills the registry
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    listed = OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {operator.name: operator for operator in listed.op}


def test_every_allowed_operator_is_tensorflows(registry: dict[str, Any]) -> None:
    assert len(registry) > 1500
    assert registry.keys() >= IMAGE_NETWORK | SAVER


def test_a_stateful_operator_is_allowed_by_name_only(registry: dict[str, Any]) -> None:
    stateful = {name for name, operator in registry.items() if operator.is_stateful}
    assert IMAGE_NETWORK & stateful == STATEFUL


def test_no_allowed_operator_is_of_the_machine_by_its_name(registry: dict[str, Any]) -> None:
    of_the_machine = {name for name in registry if MACHINE.search(name)} - IN_MEMORY
    assert len(of_the_machine) > 500
    assert not IMAGE_NETWORK & of_the_machine


def test_no_allowed_operator_takes_text_but_names_in_memory(registry: dict[str, Any]) -> None:
    from tensorflow.core.framework.types_pb2 import DT_STRING

    taking = {name for name in IMAGE_NETWORK if any(arg.type == DT_STRING for arg in registry[name].input_arg)}
    assert taking == set()
    # Names of variables, lists and frames in memory, of devices and messages, formats of arrays, and equations: never of a file.
    harmless = {
        *("container", "shared_name", "debug_name", "tensor_array_name", "stack_name", "frame_name", "allowed_devices"),
        *("message", "padding", "data_format", "mode", "method", "equation", "direction", "round_mode", "src_format"),
        *("dst_format", "interpolation", "fill_mode", "noise", "config", "config_proto", "executor_type", "align"),
        *("bad_indices_policy", "source", "kernel_type"),
    }
    found = {
        attr.name for name in IMAGE_NETWORK for attr in registry[name].attr if attr.type in ("string", "list(string)")
    }
    assert found <= harmless, found - harmless


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Save",
            "SaveSlices",
            "SaveV2",
            "DumpTensor",
            "MergeV2Checkpoints",
            "RecordInput",
            "DecodeProtoV2",
            "Restore",
        ),
        *(
            "FixedUnigramCandidateSampler",
            "RestoreV2",
            "LoadAndRemapMatrix",
            "Abort",
            "SleepOp",
            "InitializeTableFromTextFileV2",
        ),
    ],
)
def test_what_modules_were_seen_to_misuse_is_not_allowed(registry: dict[str, Any], name: str) -> None:
    assert name in registry
    assert name not in IMAGE_NETWORK
