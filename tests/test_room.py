"""Room in memory is told before it is taken."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tledge.room import left_in_the_groups


def test_memory_that_is_there_can_be_had_and_more_is_refused_with_the_way_out() -> None:
    # A process of its own, whose limit is real: what is said to be there can be had, and what is refused can not.
    script = """
import resource
import numpy as np
from tledge.room import available_memory, require_memory
from tledge.errors import EnvironmentFault
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 200_000_000, resource.RLIM_INFINITY))
assert 150_000_000 < available_memory() <= 200_000_000
require_memory(100_000_000, "nothing", "")
kept = np.ones(100_000_000, np.uint8)
assert 50_000_000 < available_memory() <= 100_000_000
try:
    require_memory(150_000_000, "a batch", "Use a smaller one.")
except EnvironmentFault as fault:
    print(fault)
try:
    np.ones(150_000_000, np.uint8)
except MemoryError:
    print("rightly")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said, truth = ended.stdout.splitlines()
    assert re.fullmatch(
        r"too little memory: a batch needs about 150 MB and \d{2,3} MB are available\. Use a smaller one\.", said
    )
    assert truth == "rightly"


@pytest.mark.parametrize("place", ["where it is told", "at the root, as in a container"])
@pytest.mark.parametrize(
    ("membership", "mount", "limit", "used", "files"),
    [
        ("0::/a/b\n", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        (
            "5:cpu:/\n4:memory:/a/b\n0::/\n",
            "sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
def test_a_control_groups_limit_counts_less_what_it_uses_but_for_files_that_it_can_drop(
    tmp_path: Path, membership: str, mount: str, limit: str, used: str, files: str, place: str
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(membership)
    group = tmp_path / mount / ("a" if place == "where it is told" else "")
    (group / "b").mkdir(parents=True)
    (group / "b" / limit).write_text("max\n")
    (group / limit).write_text("1000\n")
    (group / used).write_text("700\n")
    (group / "memory.stat").write_text(f"anon 600\n{files} 100\n")
    assert list(left_in_the_groups(tmp_path)) == [400]


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000\n", "memory.current": "700\n"}, [300]),
        ({"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 600\n"}, [300]),
        ({"memory.max": "1000\n", "memory.stat": "inactive_file 100\n"}, []),
    ],
)
def test_a_control_group_that_tells_less_counts_by_what_it_tells(
    tmp_path: Path, files: dict[str, str], left: list[int]
) -> None:
    group = tmp_path / "sys/fs/cgroup/a"
    for folder in (tmp_path / "proc/self", group):
        folder.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    for name, text in files.items():
        (group / name).write_text(text)
    assert list(left_in_the_groups(tmp_path)) == left


def test_memory_that_runs_out_on_the_way_is_the_machines_fault_and_so_is_a_disk_that_tensorflow_calls_exhausted() -> (
    None
):
    import tensorflow as tf

    from tledge.errors import environment_fault

    for error in (MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")):
        assert "too little memory" in str(environment_fault(error))
    full = tf.errors.ResourceExhaustedError(None, None, "/full/model; No space left on device")
    assert "no space left on the disk" in str(environment_fault(full))
