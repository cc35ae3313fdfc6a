"""Endpoints and deployments as files of `az ml` say them, as the API takes them, and as lines of the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document

_AUTH = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}


def endpoint_yaml(name: str, auth: str) -> Document:
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json",
        "name": name,
        "auth_mode": auth if auth in _AUTH else "key",
    }


def sent(deployment: Mapping[str, Any]) -> Document:
    """The body of its PUT."""
    code = deployment.get("code_configuration") or {}
    properties: Document = {
        "model": deployment.get("model"),
        "environmentId": deployment.get("environment"),
        "codeConfiguration": {"codeId": code["code"], "scoringScript": code["scoring_script"]} if code else None,
        "instanceType": deployment["instance_type"],
        "endpointComputeType": "Managed",
    }
    return {
        "location": "local",
        "sku": {"name": "Default", "capacity": deployment["instance_count"]},
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def sdk_code(endpoint: Mapping[str, Any], deployment: Mapping[str, Any]) -> str:
    code = deployment.get("code_configuration")
    names = ["ManagedOnlineDeployment", "ManagedOnlineEndpoint", *(["CodeConfiguration"] if code else [])]
    fields = [
        f"    {name}={value!r},\n"
        for name, value in deployment.items()
        if name not in ("$schema", "code_configuration")
    ]
    if code:
        said = ", ".join(f"{name}={value!r}" for name, value in code.items())
        fields.append(f"    code_configuration=CodeConfiguration({said}),\n")
    return (
        "from azure.ai.ml import MLClient\n"
        f"from azure.ai.ml.entities import {', '.join(sorted(names))}\n"
        "from azure.identity import DefaultAzureCredential\n\n"
        "ml_client = MLClient.from_config(DefaultAzureCredential())  # config.json is on the page Connect\n\n"
        f"endpoint = ManagedOnlineEndpoint(name={endpoint['name']!r}, auth_mode={endpoint['auth_mode']!r})\n"
        "ml_client.online_endpoints.begin_create_or_update(endpoint).result()\n"
        f"deployment = ManagedOnlineDeployment(\n{''.join(fields)})\n"
        "ml_client.online_deployments.begin_create_or_update(deployment).result()\n"
        f"endpoint.traffic = {{{deployment['name']!r}: 100}}\n"
        "ml_client.online_endpoints.begin_create_or_update(endpoint).result()\n"
    )
