"""Memory that a step frees is used again: the kernel hands out fewer pages."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from rba.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = (
    ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
)
size = 64 * 2**20  # more than glibc's own threshold ever becomes


def once():
    block = c.malloc(size)
    ctypes.memset(block, 1, size)
    c.free(block)


once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind: str) -> int:
    """Return the pages that five blocks of 64 MiB cost after a first one."""
    given = [sys.executable, "-c", PROGRAM, kind]
    return int(subprocess.run(given, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_blocks_are_handed_out_again():
    assert page_faults("keep") < page_faults("as it is") / 10
