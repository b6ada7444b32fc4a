"""Programs that say which server they are, and do nothing else."""

from pathlib import Path


def server_program(folder: Path, name: str, version: str) -> Path:
    """One called `name` in `folder` that answers `--version` as Redis does."""
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "Redis server v={version} sha=00000000:0 malloc=libc bits=64"\n')
    program.chmod(0o755)
    return program
