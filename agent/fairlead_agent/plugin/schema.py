"""The manifest's JSON Schema, for editors: ``python -m fairlead_agent.plugin.schema docs/schemas/manifest.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fairlead_agent.plugin.manifest import Manifest


def manifest_schema() -> str:
    """The schema as the text of its file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(manifest_schema())
