"""docs/openapi.yaml is what the application says of itself, and leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from fairlead_cloud.api.app import create_app
from fairlead_cloud.api.openapi import text
from fairlead_cloud.plane import ControlPlane
from fairlead_cloud.settings import PlaneSettings

FILE = Path(__file__).parents[3] / "docs" / "openapi.yaml"


def test_the_file_is_up_to_date() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert written == text(), "run: python -m fairlead_cloud.api.openapi --write"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(ControlPlane(PlaneSettings(state_dir=tmp_path)))


def _all(routes: Iterable[Any]) -> Iterator[Route | APIRoute]:
    for route in routes:
        if isinstance(route, Route | APIRoute):
            yield route
        # FastAPI keeps a router that was included behind an entry of its own.
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from _all(router.routes)


def _routes(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (route.path_format, method.lower())
        for route in _all(app.routes)
        for method in route.methods or ()
        if route.path not in ("/", "/openapi.json")
    }


def test_every_route_is_described(app: FastAPI) -> None:
    described = {(path, method) for path, route in app.openapi()["paths"].items() for method in route}
    # Starlette answers HEAD wherever it answers GET.
    missing = {route for route in _routes(app) if route[1] != "head"} - described
    assert not missing and len(described) > 25
    assert {("/v1/chat/completions", "post"), ("/api/v1/tokens/{name}", "delete")} <= _routes(app)


def test_every_operation_says_what_it_does_and_who_may(app: FastAPI) -> None:
    schema = app.openapi()
    names: list[str] = []
    for path, route in schema["paths"].items():
        for operation in route.values():
            assert operation["summary"] and operation.get("description"), path
            assert operation.get("security") or path == "/api/v1/health", path
            assert {"200", "default"} & set(operation["responses"])
            names.append(operation["operationId"])
    assert len(names) == len(set(names))


def test_all_references_resolve(app: FastAPI) -> None:
    schema = app.openapi()

    def check(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                assert reference.split("/")[-1] in schema["components"]["schemas"]
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(schema)
