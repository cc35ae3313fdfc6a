"""A model behind a batch endpoint: the form, files of `az ml`, what the API takes, and lines of the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents.fields import in_file
from smalt.studio.documents.written import Fault, Faulty

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/{}.schema.json"
_DIGITS = 9
_NUMBERS = {"instance_count": 1, "mini_batch_size": 10, "max_concurrency_per_instance": 1}
_SETTINGS = ("mini_batch_size", "max_concurrency_per_instance", "output_action", "output_file_name")


def documents(fields: Mapping[str, str]) -> tuple[Document, Document]:
    """The endpoint's and the deployment's. Raises Faulty."""
    given = {name: value.strip() for name, value in fields.items()}
    for name in ("endpoint", "deployment", "model"):
        if not given.get(name):
            raise Faulty([Fault((name,), f"{name}: this is missing.")])
    if bool(given.get("script")) != bool(given.get("code")):
        raise Faulty(
            [Fault(("script",), "script: a scoring script needs the code that it is in, and the code its script.")]
        )
    if given.get("script") and not given.get("environment"):
        raise Faulty([Fault(("environment",), "environment: a scoring script needs one.")])
    numbers = {name: _whole(given, name, usual) for name, usual in _NUMBERS.items()}
    count, compute = numbers.pop("instance_count"), (given.get("compute") or "serverless").removeprefix("azureml:")
    code, model = given.get("code"), given["model"]
    deployment: Document = {
        "$schema": _SCHEMA.format("modelBatchDeployment"),
        "type": "model",
        "name": given["deployment"],
        "endpoint_name": given["endpoint"],
        "model": model if model.startswith(("azureml:", "azureml://")) else f"azureml:{model}",
        "environment": given.get("environment", ""),
        "code_configuration": {"code": in_file(code), "scoring_script": given["script"]} if code else {},
        "compute": f"azureml:{compute}",
        "resources": {"instance_count": count},
        "settings": {**numbers, "output_action": "append_row",
                     "output_file_name": given.get("output_file_name") or "predictions.csv"},
    }  # fmt: skip
    endpoint = {"$schema": _SCHEMA.format("batchEndpoint"), "name": given["endpoint"], "auth_mode": "aad_token"}
    return endpoint, {name: value for name, value in deployment.items() if value not in ("", {})}


def sent(deployment: Mapping[str, Any], computes: str) -> Document:
    """The body of its PUT. `computes`: the id that the compute's name follows."""
    code, settings = deployment.get("code_configuration"), deployment["settings"]
    properties: Document = {
        "model": {"referenceType": "Id", "assetId": deployment["model"]},
        "environmentId": deployment.get("environment"),
        "codeConfiguration": {"codeId": code["code"], "scoringScript": code["scoring_script"]} if code else None,
        "compute": f"{computes}/{deployment['compute'].removeprefix('azureml:')}",
        "resources": {"instanceCount": deployment["resources"]["instance_count"]},
        "miniBatchSize": settings["mini_batch_size"],
        "maxConcurrencyPerInstance": settings["max_concurrency_per_instance"],
        "outputAction": "AppendRow",
        "outputFileName": settings["output_file_name"],
    }
    return {
        "location": "local",
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def sdk_code(endpoint: Mapping[str, Any], deployment: Mapping[str, Any], default: bool) -> str:
    code, settings = deployment.get("code_configuration"), deployment["settings"]
    names = [
        "BatchEndpoint",
        "ModelBatchDeployment",
        "ModelBatchDeploymentSettings",
        *(["CodeConfiguration"] if code else []),
    ]
    lines = [
        f"    {name}={deployment[name]!r},\n"
        for name in ("name", "endpoint_name", "model", "environment", "compute")
        if name in deployment
    ]
    if code:
        said = ", ".join(f"{name}={value!r}" for name, value in code.items())
        lines.append(f"    code_configuration=CodeConfiguration({said}),\n")
    numbers = {
        "instance_count": deployment["resources"]["instance_count"],
        **{name: settings[name] for name in _SETTINGS},
    }
    inner = "".join(f"        {name}={value!r},\n" for name, value in numbers.items())
    name = endpoint["name"]
    return (
        "from azure.ai.ml import MLClient\n"
        f"from azure.ai.ml.entities import {', '.join(sorted(names))}\n"
        "from azure.identity import DefaultAzureCredential\n\n"
        "ml_client = MLClient.from_config(DefaultAzureCredential())  # config.json is on the page Connect\n\n"
        f"endpoint = BatchEndpoint(name={name!r})\n"
        "ml_client.batch_endpoints.begin_create_or_update(endpoint).result()\n"
        f"deployment = ModelBatchDeployment(\n{''.join(lines)}"
        f"    settings=ModelBatchDeploymentSettings(\n{inner}    ),\n)\n"
        "ml_client.batch_deployments.begin_create_or_update(deployment).result()\n"
    ) + (
        f"endpoint = ml_client.batch_endpoints.get({name!r})\n"
        f"endpoint.defaults.deployment_name = {deployment['name']!r}\n"
        "ml_client.batch_endpoints.begin_create_or_update(endpoint).result()\n"
        if default
        else ""
    )


def _whole(given: Mapping[str, str], name: str, usual: int) -> int:
    text = given.get(name, "")
    if text and not (text.isdecimal() and len(text) <= _DIGITS and int(text)):
        raise Faulty([Fault((name,), f"{name}: '{text[:40]}' is no whole number from 1.")])
    return int(text or usual)
