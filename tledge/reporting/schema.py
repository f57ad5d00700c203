"""This module makes the JSON Schema of report.json from the records.

This command writes the schema again: ``python -m tledge.reporting.schema > docs/report.schema.json``.
"""

from __future__ import annotations

import json
from typing import Any

from tledge.files import SEAL
from tledge.records import Report


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of report.json with its seal. Unknown keys are not valid."""
    schema = Report.model_json_schema(mode="serialization")
    version = Report.model_fields["schema_version"].default
    schema["properties"]["schema_version"] = {"const": version, "title": "Schema Version", "type": "integer"}
    schema["properties"][SEAL] = {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 of the record without this key, as JSON with sorted keys and no spaces, UTF-8",
    }
    schema["required"] = [*schema["required"], SEAL]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tledge:report:{version}",
        **schema,
        "title": f"tledge report.json, version {version}",
    }


def schema_text() -> str:
    """Return the text of docs/report.schema.json."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
