"""HTML page that documents the API, rendered from its OpenAPI description."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from glimpses.utils.templates import render


def render_api_page(app: FastAPI) -> str:
    """Return the HTML page that documents the API."""
    openapi = app.openapi()
    routes = [
        {
            "method": method.upper(),
            "path": path,
            "text": route["description"],
            "parameters": route.get("parameters", []),
            "body": route.get("requestBody"),
            "responses": [
                (code, *_describe_response(response))
                for code, response in route["responses"].items()
            ],
        }
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
    ]
    schemas = openapi["components"]["schemas"].items()
    own_schemas = {name: schema for name, schema in schemas if "Validation" not in name}
    return render("api.html", routes=routes, schemas=own_schemas)


def _describe_response(response: dict[str, Any]) -> tuple[str, str, bool]:
    """Return the description of a response, its schema's name, and whether it is a list."""
    # FastAPI's default for every success.
    text = response["description"].replace("Successful Response", "")
    for content in response.get("content", {}).values():
        schema = content.get("schema", {})
        reference = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
        name = reference.rsplit("/", 1)[-1]
        return text, "" if "Validation" in name else name, "items" in schema
    return text, "", False
