"""Keep the memory that a network frees on the CPU: its next pass needs as much."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # M_* of glibc's malloc.h
_NEVER = -1  # no trimming: a batch of two frees more than any bound that holds for one
_LARGEST = 2**31 - 1  # bytes: what the option can hold
_OLD_LIMIT = 2**25  # the largest threshold that glibc before 2.35 takes
_AT_A_TIME = 2**26  # bytes by which the heap grows


def keep_freed_memory() -> bool:
    """Let malloc of this process hand freed blocks out again instead of giving them back.

    glibc maps a block of more than 128 KiB (at most 32 MiB, as the program goes) anew each time: at
    each pass the kernel fills all activations with zeros, page by page, before they are written, a
    fifth of the time of Stable Diffusion's autoencoder at 512 pixels. The process stays as large as
    its largest pass, as it does on a GPU. It is for the processes of our own commands; a program
    that uses us as a library decides for itself.

    Returns:
        Whether this C library can be told so; without it nothing changes but the time.
    """
    if sys.platform != "linux":
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_option is None:
        return False
    taken = set_option(_MMAP_THRESHOLD, _LARGEST) or set_option(_MMAP_THRESHOLD, _OLD_LIMIT)
    rest = [set_option(_TRIM_THRESHOLD, _NEVER), set_option(_TOP_PAD, _AT_A_TIME)]
    return all([taken, *rest])
