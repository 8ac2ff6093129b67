"""Compressed tars cannot be read by offset: how they are told, and the command that unpacks one."""

import shlex

_SUFFIXES = {
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bzip2",
    ".tbz2": "bzip2",
    ".tbz": "bzip2",
    ".tar.xz": "xz",
    ".txz": "xz",
    ".tar.zst": "zstd",
}
_UNPACK = {"gzip": "gzip -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc", "zstd": "zstd -dc"}


def compression_of_name(name: str) -> str | None:
    """Return the compression that a tar's name tells, None for a plain one's."""
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)


def compressed_refusal(path: str, compression: str) -> str:
    """Return why a compressed tar cannot be read, and the command that makes a plain one.

    Args:
        path: Of the tar on this machine, or of the copy that is to be made of it.
        compression: ``gzip``, ``bzip2``, ``xz`` or ``zstd``.
    """
    folder, slash, name = path.rpartition("/")
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), ".tar")
    plain = name.removesuffix(suffix) + ".tar"
    plain = f"plain-{plain}" if plain == name else plain
    command = (
        f"{_UNPACK[compression]} {shlex.quote(path)} > {shlex.quote(f'{folder}{slash}{plain}')}"
    )
    return f"compressed with {compression}, so no sample can be found by its offset: {command}"
