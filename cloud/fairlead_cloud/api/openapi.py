"""The OpenAPI description, kept in docs/openapi.yaml.

``python -m fairlead_cloud.api.openapi`` prints it, with ``--write [FILE]`` it is written.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from fairlead_cloud.gateway import openai, proxy

_AUTH = [{"HTTPBearer": list[str]()}]
_OPENAI_SUMMARIES = {
    "/v1/completions": ("Complete a prompt", "See OpenAI's reference for the fields; `stream: true` streams."),
    "/v1/chat/completions": (
        "Answer in a conversation",
        "See OpenAI's reference for the fields; `stream: true` streams.",
    ),
    "/v1/embeddings": ("Embed texts", "See OpenAI's reference for the fields; for workloads whose plugin embeds."),
}
_GATEWAY_HEADERS = {
    "fairlead-node": {"schema": {"type": "string"}, "description": "The node that answered."},
    "fairlead-epoch": {"schema": {"type": "integer"}, "description": "The epoch of the lease it held."},
    "fairlead-replica": {"schema": {"type": "integer"}, "description": "The number of the replica that answered."},
    "fairlead-attempts": {"schema": {"type": "integer"}, "description": "How many instances were asked."},
}
_PROXY_TEXT = (
    "Any HTTP of a workload: method, path, query, headers and body go to a holder of its lease. A holder that fails "
    "before anything was passed on is followed by another one, for POST and PATCH only where the request certainly had "
    "no effect or carries an `Idempotency-Key`; while a replica is being placed again the request waits."
)


def add_openapi(app: FastAPI) -> None:
    """Describe the routes that are plain ASGI beside FastAPI's own."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(described())
        return app.openapi_schema

    app.openapi = openapi


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    schemas = schema["components"].setdefault("schemas", {})
    schemas["OpenAIError"] = _OPENAI_ERROR
    schema["components"]["securitySchemes"]["HTTPBearer"].pop("bearerFormat", None)
    for path in openai.PATHS:
        schema["paths"][path] = {"post": _openai_route(path)}
    schema["paths"][proxy.PATH.replace(":path", "")] = {
        method.lower(): _proxy_route(method) for method in sorted(proxy.METHODS)
    }
    for path, route in schema["paths"].items():
        for operation in route.values():
            _add_errors(path, operation)
    schema["paths"] = dict(sorted(schema["paths"].items()))
    return schema


_OPENAI_ERROR: dict[str, Any] = {
    "title": "OpenAIError",
    "description": "Every error under /v1.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def _openai_route(path: str) -> dict[str, Any]:
    summary, text = _OPENAI_SUMMARIES[path]
    model = {"type": "string", "description": "The workload's name."}
    body = {"type": "object", "required": ["model"], "properties": {"model": model}, "additionalProperties": True}
    content = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    return {
        "tags": ["openai"],
        "summary": summary,
        "description": text,
        "operationId": path.removeprefix("/v1/").replace("/", "_"),
        "security": _AUTH,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "The answer.", "headers": _GATEWAY_HEADERS, "content": content}},
    }


def _proxy_route(method: str) -> dict[str, Any]:
    def parameter(name: str, text: str) -> dict[str, Any]:
        return {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}

    route: dict[str, Any] = {
        "tags": ["gateway"],
        "summary": "Ask a workload",
        "description": _PROXY_TEXT,
        "operationId": f"ask_workload_{method.lower()}",
        "security": _AUTH,
        "parameters": [
            parameter("name", "The workload."),
            parameter("path", "The path at the workload, slashes included."),
        ],
        "responses": {
            "default": {"description": "The workload's own answer.", "headers": _GATEWAY_HEADERS},
            "404": {"description": "No such workload."},
        },
    }
    if method in ("POST", "PUT", "PATCH"):
        route["requestBody"] = {"content": {"*/*": {"schema": {}}}}
    return route


def _add_errors(path: str, operation: dict[str, Any]) -> None:
    reference = "OpenAIError" if path.startswith("/v1/") else "ErrorView"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{reference}"}}}
    responses = operation["responses"]
    added = {"503": "The database cannot be used."}
    if operation.get("security"):
        added |= {"401": "Missing or unknown token.", "403": "The token's role is too low."}
    if reference == "OpenAIError":
        added |= {"404": "No such model."}
    if "gateway" in operation["tags"] or path in openai.PATHS:
        added |= {
            "413": "The body is too large.",
            "502": "The only instance that was asked failed midway, and the request is not repeatable.",
            "503": "No replica answered within the waiting time.",
        }
    for status, text in added.items():
        responses.setdefault(status, {"description": text})
    for status, response in responses.items():
        if status.isdigit() and int(status) >= 400:
            response["content"] = content
    operation["responses"] = dict(sorted(responses.items()))


def text() -> str:
    """The description as YAML."""
    import yaml

    from fairlead_cloud.api.app import create_app
    from fairlead_cloud.plane import ControlPlane
    from fairlead_cloud.settings import PlaneSettings

    with tempfile.TemporaryDirectory() as folder:
        schema = create_app(ControlPlane(PlaneSettings(state_dir=Path(folder)))).openapi()
    # By way of JSON, so that no object occurs twice: YAML would make anchors and aliases of them.
    return yaml.safe_dump(json.loads(json.dumps(schema)), sort_keys=False, allow_unicode=True, width=120)


def main(arguments: list[str]) -> None:
    """Print, or write with ``--write [FILE]``."""
    if arguments[:1] != ["--write"]:
        sys.stdout.write(text())
        return
    path = Path(arguments[1]) if len(arguments) > 1 else Path("docs/openapi.yaml")
    path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
