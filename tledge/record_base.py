"""What every record is: it stands apart from the records, so that a help text can read one without importing them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tledge.errors import ArtifactError, first_problem
from tledge.files import read_sealed, write_sealed


class Record(BaseModel):
    """Frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.model_dump(mode="json")

    def save(self, path: Path) -> None:
        """Write atomically, sealed with its own hash."""
        write_sealed(path, self.as_json())

    @classmethod
    def load(cls, path: Path, remedy: str) -> Self:
        """Read back, with no type converted into another: ``"2"`` is no number.

        Raises ArtifactError, ending in ``remedy``, where the file is damaged, of another version, or no such record.
        """
        record = read_sealed(path, remedy)
        version = cls.model_fields["schema_version"].default if "schema_version" in cls.model_fields else None
        if record.get("schema_version") != version:
            raise ArtifactError(
                f"{path}: schema version {record.get('schema_version')}, this tledge reads {version}; {remedy}"
            )
        try:
            return cls.model_validate(record, strict=True)
        except ValidationError as error:
            raise ArtifactError(f"{path}: {first_problem(error)}; {remedy}") from error
