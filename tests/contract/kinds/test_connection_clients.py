"""Connections as the official SDK writes and reads them: every class, every type of credentials."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.ai.ml._restclient.arm_ml_service._utils.model_base import SdkJSONEncoder, _deserialize
from azure.ai.ml._restclient.arm_ml_service.models import WorkspaceConnectionPropertiesV2BasicResource as Rest
from azure.ai.ml.entities import (
    AadCredentialConfiguration,
    AccessKeyConfiguration,
    AccountKeyConfiguration,
    ApiKeyConfiguration,
    APIKeyConnection,
    AzureAISearchConnection,
    AzureAIServicesConnection,
    AzureBlobStoreConnection,
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    AzureSpeechServicesConnection,
    ManagedIdentityConfiguration,
    MicrosoftOneLakeConnection,
    NoneCredentialConfiguration,
    OneLakeConnectionArtifact,
    OpenAIConnection,
    PatTokenConfiguration,
    SasTokenConfiguration,
    SerpConnection,
    ServerlessConnection,
    ServicePrincipalConfiguration,
    UsernamePasswordConfiguration,
    WorkspaceConnection,
)

from fakes.platform import WORKSPACE, Harness

SECRET = "pl4nted-s3cret"
WEB = "https://service.example/path"
RESOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"


def generic(type_: str, credentials: Any, target: str = WEB, **more: Any) -> WorkspaceConnection:
    return WorkspaceConnection(name="one", type=type_, target=target, credentials=credentials, **more)


def principal() -> ServicePrincipalConfiguration:
    return ServicePrincipalConfiguration(client_secret=SECRET, client_id="c1", tenant_id="t1", authority_url="")


USER = UsernamePasswordConfiguration(username=SECRET, password=SECRET)
CONNECTIONS = {
    "git-pat": generic("git", PatTokenConfiguration(pat=SECRET), metadata={"a": "b"}),
    "git-user": generic("git", USER),
    "git-none": generic("git", NoneCredentialConfiguration()),
    "feed-pat": generic("python_feed", PatTokenConfiguration(pat=SECRET)),
    "feed-user": generic("python_feed", USER, is_shared=False),
    "feed-none": generic("python_feed", NoneCredentialConfiguration()),
    "registry": generic("container_registry", USER),
    "registry-identity": generic(
        "container_registry", ManagedIdentityConfiguration(client_id="c1", resource_id=RESOURCE)
    ),
    "snowflake": generic("snowflake", USER, "jdbc:snowflake://<account>.example/?db=<db>&warehouse=<w>"),
    "sql": generic("azure_sql_db", USER, "Server=tcp:<server>,1433;Database=<db>;Encrypt=true"),
    "sql-principal": generic("azure_sql_db", principal()),
    "synapse": generic("azure_synapse_analytics", USER),
    "mysql": generic("azure_my_sql_db", USER),
    "postgres": generic("azure_postgres_db", USER),
    "s3": generic("s3", AccessKeyConfiguration(access_key_id=SECRET, secret_access_key=SECRET), "s3://bucket"),
    "lake": generic("azure_data_lake_gen2", principal()),
    "custom": generic("custom", ApiKeyConfiguration(key=SECRET)),
    "generic-sas": generic("generic_http", SasTokenConfiguration(sas_token=SECRET)),
    "generic-account": generic("azure_storage_account", AccountKeyConfiguration(account_key=SECRET)),
    "redis-aad": generic("redis", AadCredentialConfiguration()),
    "blob": AzureBlobStoreConnection(
        name="one", url=WEB, container_name="c", account_name="a", credentials=SasTokenConfiguration(sas_token=SECRET)
    ),
    "blob-key": AzureBlobStoreConnection(
        name="one", url=WEB, container_name="c", account_name="a",
        credentials=AccessKeyConfiguration(access_key_id=SECRET, secret_access_key=SECRET),
    ),
    "one-lake": MicrosoftOneLakeConnection(
        name="one", endpoint="lake.example", one_lake_workspace_name="w", artifact=OneLakeConnectionArtifact(name="x"),
        credentials=principal(),
    ),
    "azure-openai": AzureOpenAIConnection(name="one", azure_endpoint=WEB, api_key=SECRET, api_version="2024-05"),
    "azure-openai-aad": AzureOpenAIConnection(name="one", azure_endpoint=WEB, open_ai_resource_id=RESOURCE),
    "ai-services": AzureAIServicesConnection(
        name="one", endpoint=WEB, api_key=SECRET, ai_services_resource_id=RESOURCE
    ),
    "ai-search": AzureAISearchConnection(name="one", endpoint=WEB, api_key=SECRET),
    "safety": AzureContentSafetyConnection(name="one", endpoint=WEB, api_key=SECRET),
    "speech": AzureSpeechServicesConnection(name="one", endpoint=WEB, api_key=SECRET),
    "api-key": APIKeyConnection(name="one", api_base=WEB, api_key=SECRET),
    "openai": OpenAIConnection(name="one", api_key=SECRET),
    "serp": SerpConnection(name="one", api_key=SECRET),
    "serverless": ServerlessConnection(name="one", endpoint=WEB, api_key=SECRET),
}  # fmt: skip


def body_of(connection: WorkspaceConnection) -> Any:
    return json.loads(json.dumps(connection._to_rest_object(), cls=SdkJSONEncoder, exclude_readonly=True))


def read(document: Any) -> WorkspaceConnection:
    return WorkspaceConnection._from_rest_object(_deserialize(Rest, document))


def without_secrets(connection: WorkspaceConnection) -> dict[str, Any]:
    shown = {**vars(connection.credentials or NoneCredentialConfiguration())}
    kept = {name: shown.get(name) for name in ("type", "client_id", "tenant_id")}
    return {
        "class": type(connection).__name__,
        "type": connection.type,
        "target": connection.target,
        "credentials": kept,
        "metadata": {key: value for key, value in (connection.metadata or {}).items() if value is not None},
        "shared": connection.is_shared,
    }


@pytest.mark.parametrize("name", CONNECTIONS)
def test_what_the_sdk_writes_it_reads_again(harness: Harness, name: str) -> None:
    given, url = CONNECTIONS[name], f"{WORKSPACE}/connections/{name}"
    body = body_of(given)
    made = harness.put(url, body)
    assert made.status_code == 200, made.text
    assert without_secrets(read(made.json())) == without_secrets(given)
    listed = harness.get(f"{WORKSPACE}/connections?includeAll=true").json()["value"]
    assert [without_secrets(read(one)) for one in listed] == [without_secrets(given)]
    for answer in (made, harness.get(url), harness.get(f"{WORKSPACE}/connections?includeAll=true")):
        assert SECRET not in answer.text
    opened = harness.send("POST", f"{url}/listsecrets").json()["properties"]
    wanted = body["properties"].get("credentials")
    assert (opened["credentials"] or {}) == {key: value for key, value in (wanted or {}).items() if value is not None}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_what_was_read_without_secrets_may_be_written_back(harness: Harness, name: str) -> None:
    url = f"{WORKSPACE}/connections/{name}"
    harness.put(url, body_of(CONNECTIONS[name]))
    before = harness.send("POST", f"{url}/listsecrets").json()["properties"]["credentials"]
    back = read(harness.get(url).json())
    back.metadata = {**(back.metadata or {}), "owner": "risk"}
    again = harness.put(url, body_of(back))
    assert again.status_code == 200, again.text
    opened = harness.send("POST", f"{url}/listsecrets").json()["properties"]
    assert opened["credentials"] == before and opened["metadata"]["owner"] == "risk"
