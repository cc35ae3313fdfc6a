"""The service's description at /swagger.json: the same documents as Azure's server gives, for versions 2, 3 and 3.1.

A `swagger.json`, `swagger2.json`, `swagger3.json` or `swagger3.1.json` in the app's folder replaces the generated one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterable

from .config import AzureSettings

ALIASES = {"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
FAILED = "The service failed to execute due to an error."
SCORED = "The service processed the input correctly and provided a result prediction, if applicable."
HEALTHY = "If service is up and running, this response will be returned with the content 'Healthy'"
HEALTH = "Simple health check endpoint to ensure the service is up at any given point."
PAYLOAD = "The input payload for executing the real-time machine learning service."


class SwaggerError(Exception):
    """No such version."""


class Swagger:
    """The documents of one service. `versions` are those that the script's schemas can be described in."""

    def __init__(
        self, settings: AzureSettings, app_root: str, versions: Iterable[str], input_schema: Any, output_schema: Any
    ) -> None:
        self._documents: dict[str, Any] = {}
        possible = {ALIASES[one] for one in versions if one in ALIASES}
        for version in ("2", "3", "3.1"):
            document = _user_document(app_root, version)
            if document is None and version in possible:
                document = generate(version, settings, input_schema, output_schema)
            if document is not None:
                self._documents[version] = document

    def document(self, version: str) -> Any:
        supported = f"[{', '.join(sorted(self._documents))}]"
        if version not in ALIASES:
            raise SwaggerError(f"Swagger version [{version}] is not valid. Supported versions: {supported}.")
        found = self._documents.get(ALIASES[version])
        if not found:
            raise SwaggerError(
                f"Swagger version [{version}] is not supported for the scoring script. "
                f"Supported swagger versions: {supported}."
            )
        return found


def generate(version: str, settings: AzureSettings, input_schema: Any, output_schema: Any) -> dict[str, Any]:
    """One document; the schemas are put in as they are."""
    info = {
        "title": settings.service_name,
        "description": f"API specification for the Azure Machine Learning service {settings.service_name}",
        "version": settings.service_version,
    }
    prefix = settings.service_path_prefix.strip("/")
    prefix = "/" + prefix if prefix else ""
    error = {"type": "object", "properties": {"message": {"type": "string"}}}
    schemas = {"ServiceInput": input_schema, "ServiceOutput": output_schema, "ErrorResponse": error}
    bearer = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}
    if version == "2":
        return {
            "swagger": "2.0",
            "info": info,
            "schemes": ["https"],
            "consumes": ["application/json"],
            "produces": ["application/json"],
            "securityDefinitions": {"Bearer": bearer},
            "paths": _paths(prefix, _Two()),
            "definitions": schemas,
        }
    return {
        "openapi": "3.1.0" if version == "3.1" else "3.0.3",
        "info": info,
        "security": [{"Bearer": []}],
        "paths": _paths(prefix, _Three()),
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": bearer}},
    }


class _Two:
    """How Swagger 2 writes bodies, answers and parameters."""

    def reference(self, name: str) -> dict[str, Any]:
        return {"$ref": "#/definitions/" + name}

    def answer(self, description: str, schema: dict[str, Any], media: str, example: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = {"description": description, "schema": schema}
        if example:
            answer["examples"] = {"application/json": example}
        return answer

    def version_parameter(self) -> dict[str, Any]:
        return {"name": "version", "in": "query", "required": False, "type": "integer", "enum": [2, 3]}

    def body(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"parameters": [{"name": "serviceInputPayload", "in": "body", "description": PAYLOAD, "schema": schema}]}


class _Three(_Two):
    """How OpenAPI 3 writes them."""

    def reference(self, name: str) -> dict[str, Any]:
        return {"$ref": "#/components/schemas/" + name}

    def answer(self, description: str, schema: dict[str, Any], media: str, example: str = "") -> dict[str, Any]:
        shown = {**schema, "example": example} if example else schema
        return {"description": description, "content": {media: {"schema": shown}}}

    def version_parameter(self) -> dict[str, Any]:
        schema = {"type": "integer", "enum": [2, 3]}
        return {"name": "version", "in": "query", "required": False, "schema": schema}

    def body(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"requestBody": {"description": PAYLOAD, "content": {"application/json": {"schema": schema}}}}


def _paths(prefix: str, form: _Two) -> dict[str, Any]:
    failed = form.answer(FAILED, form.reference("ErrorResponse"), "application/json")
    text = {"type": "string"}
    health = {
        "operationId": "ServiceHealthCheck",
        "description": HEALTH,
        "responses": {"200": form.answer(HEALTHY, text, "text/plain", "Healthy"), "default": failed},
    }
    score = {
        "operationId": "RunMLService",
        "description": "Run web service's model and get the prediction output",
        "security": [{"Bearer": []}],
        **form.body(form.reference("ServiceInput")),
        "responses": {
            "200": form.answer(SCORED, form.reference("ServiceOutput"), "application/json"),
            "default": failed,
        },
    }
    described = {
        "operationId": "GetSwaggerSpec",
        "description": "Get the Swagger specification.",
        "parameters": [form.version_parameter()],
        "responses": {"200": form.answer("The Swagger specification.", text, "text/plain"), "default": failed},
    }
    return {
        prefix + "/": {"get": health},
        prefix + "/score": {"post": score},
        prefix + "/swagger.json": {"get": described},
    }


def _user_document(app_root: str, version: str) -> Any:
    names = ["swagger.json", "swagger2.json"] if version == "2" else [f"swagger{version}.json"]
    for name in names:
        path = Path(app_root, name)
        if app_root and path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found:
                return found
    return None
