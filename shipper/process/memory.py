"""Memory without a name in the file system: nothing is left of it by a SIGKILL, whoever is killed."""

import os
import sys
import tempfile


def open_anonymous(name: str, size_bytes: int = 0) -> int:
    """Return a descriptor of so many zeroed bytes, to be handed to other processes; `name` is for people only."""
    if sys.platform == "linux":
        descriptor = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size_bytes)
    return descriptor
