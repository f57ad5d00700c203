"""A structure is JSON from which a backbone's flat graph is built again. It is checked, because it is read from a file."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from tledge.errors import ArtifactError, first_problem
from tledge.records import Record

S = TypeVar("S", bound=Record)


def parsed(kind: type[S], structure: dict[str, Any]) -> S:
    """Check the JSON that describes a backbone's graph, and return it as a record of class ``kind``.

    Raises ArtifactError for unknown, missing or impossible values."""
    try:
        return kind.model_validate(structure)
    except ValidationError as error:
        raise structure_fault(str(first_problem(error))) from error


def structure_fault(fault: str) -> ArtifactError:
    """Return the error for a structure from which no graph can be built."""
    return ArtifactError(f"the structure of the backbone is damaged: {fault}. Train again with tledge build.")
