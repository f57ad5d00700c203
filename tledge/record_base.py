"""This module has the base of all records, apart from them.

A help text can thus read one record without importing them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tledge._version import __version__
from tledge.errors import ArtifactError, first_problem
from tledge.files import read_sealed, write_sealed
from tledge.printable import sentence


class Record(BaseModel):
    """A record is frozen, and an unknown key in it is an error.

    ``earlier`` has a function for each earlier schema version that can still be read. It takes a record of that version
    and returns it as the current version has it.
    """

    earlier: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    def as_json(self) -> dict[str, Any]:
        """Return the record in plain JSON types."""
        return self.model_dump(mode="json")

    def save(self, path: Path) -> None:
        """Write the record atomically, sealed with its own hash."""
        write_sealed(path, self.as_json())

    @classmethod
    def load(cls, path: Path, remedy: str) -> Self:
        """Read a record back, without converting one type into another: ``"2"`` is no number.

        Raises ArtifactError, whose message ends in the sentence ``remedy``, where the file is damaged, of another version, or
        another record.
        """
        record = cls._converted(path, read_sealed(path, remedy), remedy)
        version = cls.model_fields["schema_version"].default if "schema_version" in cls.model_fields else None
        found = record.get("schema_version")
        if isinstance(found, int) and isinstance(version, int) and found > version:
            raise ArtifactError(
                f"{path}: made by a newer tledge (schema version {found}, and this tledge {__version__} reads {version}). "
                "Update tledge."
            )
        if found != version:
            raise ArtifactError(f"{path}: schema version {found}, this tledge reads {version}. {remedy}")
        try:
            return cls.model_validate(record, strict=True)
        except ValidationError as error:
            if keys := [one["loc"] for one in error.errors(include_url=False) if one["type"] == "extra_forbidden"]:
                named = ".".join(map(str, keys[0]))
                raise ArtifactError(
                    f"{path}: this tledge {__version__} does not know its key {named}, so another tledge made it"
                    f"{f', {made_by}' if (made_by := record.get('tledge_version')) else ''}. Update tledge."
                ) from error
            raise ArtifactError(f"{path}: {sentence(str(first_problem(error)))} {remedy}") from error

    @classmethod
    def _converted(cls, path: Path, record: dict[str, Any], remedy: str) -> dict[str, Any]:
        """Return a record of an earlier schema version as the current version has it, and any other as it is."""
        version = record.get("schema_version")
        if type(version) is not int or version not in cls.earlier:
            return record
        try:
            return cls.earlier[version](record)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # it was sealed, and is no such record
            raise ArtifactError(f"{path}: no record of schema version {version} ({error!r}). {remedy}") from error
