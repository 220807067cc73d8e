from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, resource, torch
from dfd_batch.training.heap import kept_heap

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(16 << 20)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

usual, before = faults(10), resident()
with kept_heap():
    faults(10)
    kept = faults(10)
print(json.dumps([usual, kept, resident() - before]))
"""


def test_steps_use_their_memory_again_instead_of_the_systems_anew() -> None:
    # a process of its own: another test may have left large holes in this one's heap
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    usual, kept, left = json.loads(told.stdout)
    assert kept < usual / 4
    assert left < 32 << 20  # afterwards the system has it back
