"""The labelled text files in the PyPI package sae-probes; they are read and nothing of the package is imported."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError


def folder() -> Path:
    """The folder of the files.

    Raises:
        LabError: the package is not installed.
    """
    spec = importlib.util.find_spec("sae_probes")
    for location in (spec.submodule_search_locations or []) if spec else []:
        found = Path(location) / "data" / "cleaned_data"
        if found.is_dir():
            return found
    raise LabError("the package with the texts is not installed: pip install sae-probes")


def numbered(files: Path, number: int) -> Path:
    """The file whose name begins with a number.

    Raises:
        LabError: there is none.
    """
    for path in files.glob(f"{number}_*.csv.zst"):
        return path
    raise LabError(f"sae-probes holds no file {number}: install the pinned version")


def rows(path: Path) -> Iterator[tuple[str, str]]:
    """Text and label of each row of a file; rows without text are left out.

    Raises:
        LabError: the file is damaged.
    """
    import zstandard

    csv.field_size_limit(2**24)
    try:
        with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as stream:
            reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
            names = next(reader, [])
            column, label = names.index("prompt" if "prompt" in names else "text"), names.index("target")
            for row in reader:
                if row[column] and not row[column].isspace():
                    yield row[column], row[label]
    except (IndexError, ValueError, OSError, zstandard.ZstdError, csv.Error) as error:
        raise LabError(f"{path.name} is damaged: {error}; install sae-probes again") from error
