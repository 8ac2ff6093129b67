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
size = int(sys.argv[2]) * 2**20


def once():
    block = c.malloc(size)
    ctypes.memset(block, 1, 2**24)
    c.free(block)


once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind: str, mebibytes: int) -> int:
    """Return the pages that the first 16 MiB of five blocks cost after a first block."""
    given = [sys.executable, "-c", PROGRAM, kind, str(mebibytes)]
    return int(subprocess.run(given, check=True, capture_output=True, text=True).stdout)


needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


@needs_glibc
def test_freed_blocks_are_handed_out_again():
    few = 64  # more than glibc's own threshold ever becomes
    assert page_faults("keep", few) < page_faults("as it is", few) / 10


@needs_glibc
def test_what_a_batch_of_two_frees_is_kept():
    decoder = 1536  # Stable Diffusion's, at 512 pixels; nothing is trimmed at any size
    assert page_faults("keep", decoder) < 100  # of 5 * 4096
