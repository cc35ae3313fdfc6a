"""ARM's preflight: a template's resources are judged as their PUTs would be, and nothing of them is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import requests
from azure.ai.ml import Input, command
from azure.ai.ml._vendor.azure_resources import ResourceManagementClient
from azure.ai.ml.entities import CommandComponent
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import HttpTransport, RequestsTransportResponse
from sqlalchemy import select

from fakes.examples import CURATED, EXAMPLES, prepare
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.arm.ids import ResourceId
from smalt.settings import SUBSCRIPTION
from smalt.store.tables import metadata

VALIDATE = f"{GROUP}/providers/Microsoft.Resources/deployments/try/validate"
ML = "Microsoft.MachineLearningServices"


def resource(url: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    id_ = ResourceId.parse(url)
    type_ = "/".join([id_.provider, *(type_ for type_, _ in id_.path)])
    name = "/".join(name for _, name in id_.path)
    scope = {"scope": str(replace(id_, segments=id_.segments[:-1]))} if len(id_.segments) > 1 else {}
    return {"type": type_, "name": name, "apiVersion": "2024-04-01", **scope, **body, **more}


def validate(harness: Harness, *resources: dict[str, Any], **properties: Any) -> Any:
    template = {"contentVersion": "1.0.0.0", "resources": list(resources), **properties.pop("template", {})}
    return harness.send("POST", VALIDATE, {"properties": {"mode": "Incremental", "template": template, **properties}})


def stored(harness: Harness) -> dict[str, list[Any]]:
    """All that there is, but for what was refused."""
    with harness.database.read() as connection:
        found = {name: sorted(map(repr, connection.execute(select(table)))) for name, table in metadata.tables.items()}
    return {**found, "change": [one for one in found["change"] if "'refused'" not in one]}


DEPLOYABLE = sorted(key for key, one in EXAMPLES.items() if f"/{ML}/" in one.url)


@pytest.mark.parametrize("key", DEPLOYABLE)
def test_every_kind_is_judged_as_its_put_and_not_written(harness: Harness, key: str) -> None:
    example = prepare(harness, key)
    before = stored(harness)
    good = validate(harness, resource(example.url, example.body()))
    assert good.status_code == 200, good.text
    assert [one["id"] for one in good.json()["properties"]["validatedResources"]] == [example.url]
    assert good.json()["properties"]["provisioningState"] == "Succeeded"
    wrong = {**example.body(), "tags": ["no", "object"]}
    bad = validate(harness, resource(example.url, wrong))
    assert bad.status_code == 400 and bad.json()["error"]["code"] == "InvalidTemplateDeployment"
    put = harness.put(example.url, wrong).json()["error"]
    leaves = put["details"] or [put]
    details = bad.json()["error"]["details"]
    assert [(one["code"], one["target"]) for one in details] == [(one["code"], one["target"]) for one in leaves]
    assert all(ResourceId.parse(example.url).name in one["message"] for one in details)
    assert stored(harness) == before


def test_what_extends_another_names_its_scope(harness: Harness) -> None:
    lock = {"type": "Microsoft.Authorization/locks", "name": "keep", "apiVersion": "2020-05-01"}
    body = {"properties": {"level": "ReadOnly"}}
    for scope in (f"{ML}/workspaces/bank", WORKSPACE, WORKSPACE.upper()):
        answer = validate(harness, {**lock, **body, "scope": scope})
        (found,) = answer.json()["properties"]["validatedResources"]
        assert found["id"].lower() == f"{WORKSPACE}/providers/Microsoft.Authorization/locks/keep".lower()
    for scope in (f"{GROUP}-2/providers/{ML}/workspaces/bank", "/subscriptions/s"):
        error = validate(harness, {**lock, **body, "scope": scope}).json()["error"]
        assert (error["code"], error["target"]) == ("InvalidTemplate", "properties.template.resources[0].scope")


def test_a_kind_that_is_not_here_gets_what_its_put_gets(harness: Harness) -> None:
    answer = validate(
        harness, {"type": f"{ML}/workspaces/rockets", "name": "bank/one", "apiVersion": "1", "properties": {}}
    )
    (detail,) = answer.json()["error"]["details"]
    put = harness.put(f"{WORKSPACE}/rockets/one", {"properties": {}}).json()["error"]
    assert answer.status_code == 400 and detail["code"] == put["code"] == "InvalidResourceType"
    assert put["message"] in detail["message"]


def test_resources_may_need_each_other_in_any_order(harness: Harness) -> None:
    endpoint = resource(f"{WORKSPACE}/onlineEndpoints/fresh", EXAMPLES["workspaces/onlineendpoints"].body())
    prepare(harness, "workspaces/onlineendpoints/deployments")
    below = EXAMPLES["workspaces/onlineendpoints/deployments"].body()
    deployment = resource(f"{WORKSPACE}/onlineEndpoints/fresh/deployments/blue", below)
    before = stored(harness)
    assert validate(harness, deployment).json()["error"]["details"][0]["code"] == "ResourceNotFound"
    for order in ((endpoint, deployment), (deployment, endpoint)):
        assert validate(harness, *order).status_code == 200
    nested = {**endpoint, "resources": [{**deployment, "type": "deployments", "name": "blue"}]}
    assert validate(harness, nested).status_code == 200
    other = resource(f"{WORKSPACE}-new", EXAMPLES["workspaces"].body())
    data = resource(f"{WORKSPACE}-new/data/rows", EXAMPLES["workspaces/data"].body())
    assert validate(harness, data, other).status_code == 200
    assert stored(harness) == before


def test_all_faults_are_told_at_once(harness: Harness) -> None:
    job = EXAMPLES["workspaces/jobs"]
    wrong = [resource(f"{WORKSPACE}/jobs/{name}", job.body(computeId="azureml:none")) for name in ("a", "b")]
    details = validate(harness, *wrong).json()["error"]["details"]
    assert [("'bank/a'" in one["message"], "'bank/b'" in one["message"]) for one in details] == [
        (True, False),
        (False, True),
    ]
    assert {one["target"] for one in details} == {"properties.computeId"}


def test_parameters_are_filled_in(harness: Harness) -> None:
    data = resource(f"{WORKSPACE}/data/x", {"properties": {"description": "[parameters('said')]"}})
    named = {**data, "name": "[parameters('name')]"}
    declared = {"parameters": {"name": {"type": "string", "defaultValue": "bank/x"}, "said": {"type": "string"}}}
    answer = validate(harness, named, template=declared, parameters={"Said": {"value": "hello"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["properties"]["validatedResources"] == [{"id": f"{WORKSPACE}/data/x"}]
    missing = validate(harness, named, template=declared).json()["error"]
    assert (missing["code"], missing["target"]) == (
        "InvalidTemplate",
        "properties.template.resources[0].properties.description",
    )
    skipped = validate(harness, {**data, "name": "of none", "properties": {}, "condition": False})
    assert skipped.json()["properties"]["validatedResources"] == []


@pytest.mark.parametrize(
    ("wrong", "target"),
    [
        ({"resources": "none"}, "resources"),
        ({"resources": [1]}, "resources[0]"),
        ({"resources": [{"name": "bank/x", "apiVersion": "1"}]}, "resources[0].type"),
        ({"resources": [{"type": f"{ML}/workspaces/data", "name": "bank", "apiVersion": "1"}]}, "resources[0].name"),
        ({"resources": [{"type": ML, "name": "", "apiVersion": "1"}]}, "resources[0].name"),
        ({"resources": [{"type": f"{ML}/workspaces", "name": "x"}]}, "resources[0].apiversion"),
        ({"resources": [{"type": f"{ML}/workspaces", "name": "x", "copy": {}}]}, "resources[0].copy"),
        ({"resources": [{"type": f"{ML}/workspaces", "name": "[concat('a')]"}]}, "resources[0].name"),
        ({"resources": [], "parameters": [1]}, "parameters"),
        ({"resources": [{"type": f"{ML}/workspaces", "name": "x", "apiVersion": "1"}] * 801}, "resources"),
    ],
)
def test_a_template_that_cannot_be_read_says_where(harness: Harness, wrong: dict[str, Any], target: str) -> None:
    answer = harness.send("POST", VALIDATE, {"properties": {"template": wrong}})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["target"]) == ("InvalidTemplate", f"properties.template.{target}")


def test_the_deployment_of_a_workspace_is_judged_by_its_parameters(harness: Harness) -> None:
    before = stored(harness)
    good = validate(harness, {"anything": "[concat('a')]"}, parameters={"workspaceName": {"value": "other"}})
    assert good.status_code == 200, good.text
    assert good.json()["properties"]["validatedResources"] == [{"id": f"{GROUP}/providers/{ML}/workspaces/other"}]
    bad = validate(harness, parameters={"workspaceName": {"value": "no/name"}})
    assert bad.json()["error"]["code"] == "InvalidTemplateDeployment"
    assert stored(harness) == before


def test_what_is_no_deployment(harness: Harness) -> None:
    elsewhere = harness.send("POST", VALIDATE.replace(GROUP, f"{GROUP}-none"), {})
    assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (404, "ResourceGroupNotFound")
    for body, target in (
        ({}, "properties"),
        ({"properties": {}}, "properties.template"),
        ({"properties": {"template": 1}}, "properties.template"),
    ):
        answer = harness.send("POST", VALIDATE, body)
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)


class Wire(HttpTransport[Any, Any]):
    """The official client's requests, to the harness."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    def send(self, request: Any, **_kwargs: Any) -> Any:
        names = {name.replace("-", "_"): value for name, value in request.headers.items()}
        sent = self._harness.send(request.method, request.url, request.body.encode(), **names)
        answer = requests.Response()
        answer.status_code, answer._content = sent.status_code, sent.content  # pyright: ignore[reportPrivateUsage]
        answer.headers.update(sent.headers)
        return RequestsTransportResponse(request, answer)

    def open(self) -> None: ...
    def close(self) -> None: ...
    def __exit__(self, *_args: object) -> None: ...


class Credential:
    def get_token(self, *_scopes: str, **_kwargs: Any) -> AccessToken:
        return AccessToken("any", 4_000_000_000)


def remotely_validated(harness: Harness, component: CommandComponent) -> Any:
    """As `components.validate(component, skip_remote_validation=False)` does it."""
    client = ResourceManagementClient(
        credential=Credential(),
        subscription_id=SUBSCRIPTION,
        base_url=harness.settings.url,
        api_version="2020-06-01",
        transport=Wire(harness),
    )
    body = component._build_rest_object_for_remote_validation(location="local", workspace_name="bank")  # pyright: ignore[reportPrivateUsage]
    poller = client.deployments.begin_validate(
        resource_group_name=GROUP.rpartition("/")[2], deployment_name="bank", parameters=body
    )
    return component._build_validation_result_from_rest_object(poller.result())  # pyright: ignore[reportPrivateUsage]


def component(name: str, version: str = "1") -> CommandComponent:
    made = command(command="echo ${{inputs.n}}", environment=CURATED, inputs={"n": Input(type="integer")}).component
    assert isinstance(made, CommandComponent)
    made.name, made.version = name, version
    return made


def test_a_component_of_the_sdk(harness: Harness) -> None:
    before = stored(harness)
    assert remotely_validated(harness, component("prep")).passed
    with pytest.raises(HttpResponseError) as refused:
        remotely_validated(harness, component("prep", "not a version"))
    error = refused.value.error
    assert error is not None and error.code == "InvalidTemplateDeployment"
    (detail,) = error.details
    assert (detail.code, detail.target) == ("ValidationError", "name") and "prep/not a version" in detail.message
    assert stored(harness) == before
