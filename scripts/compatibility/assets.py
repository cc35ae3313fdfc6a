"""Rows that are "create and read back": made through the client, read, compared, listed, archived or deleted."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import azure.ai.ml as sdk
from azure.ai.ml import MLClient
from azure.core.exceptions import ResourceNotFoundError

VERSIONED = {
    "data": ("type", "description", "tags"),
    "model": ("type", "description", "tags"),
    "environment": ("description", "tags", "image", "conda_file"),
    "component": ("display_name", "description", "tags", "type", "command", "inputs", "outputs"),
}
_OPERATIONS = {"data": "data", "model": "models", "environment": "environments", "component": "components"}
_COMPUTE_FIELDS = (
    "type",
    "size",
    "min_instances",
    "max_instances",
    "idle_time_before_scale_down",
    "tier",
    "location",
)
_DATASTORE_FIELDS = ("type", "description", "container_name", "file_share_name", "store_name")
_SECRETS = ("pat", "username", "password", "access_key_id", "secret_access_key")
_WORKSPACE_FIELDS = (
    "location",
    "display_name",
    "description",
    "tags",
    "public_network_access",
    "image_build_compute",
)


class Different(Exception):
    """What was read back is not what was created."""


def create_and_read_back(client: MLClient, kind: str, path: Path) -> None:
    """Raises `Different`, or what the client raises."""
    if kind in VERSIONED:
        _versioned(client, kind, path)
    elif kind == "datastore":
        _datastore(client, path)
    elif kind == "connection":
        _connection(client, path)
    elif kind == "compute":
        _compute(client, path)
    elif kind == "workspace":
        _workspace(client, path)
    elif kind == "online-endpoint":
        _online_endpoint(client, path)
    elif kind == "batch-endpoint":
        _batch_endpoint(client, path)
    elif kind == "registry":
        _registry(client, path)
    else:
        raise NotImplementedError(f"no way to read back a {kind}")


def _registry(client: MLClient, path: Path) -> None:
    entity = sdk.load_registry(path)
    client.registries.begin_create(entity).result()
    _compare(entity, client.registries.get(entity.name), ("location", "tags"))
    _expect(entity.name in {one.name for one in client.registries.list()}, "it is not in the list")
    client.registries.begin_delete(name=entity.name).result()


def _versioned(client: MLClient, kind: str, path: Path) -> None:
    entity = getattr(sdk, f"load_{kind}")(path)
    operations = getattr(client, _OPERATIONS[kind])
    local = getattr(entity, "path", None)
    created = operations.create_or_update(entity)
    got = operations.get(created.name, version=created.version)
    _compare(entity, got, VERSIONED[kind])
    if kind == "environment":
        _expect((entity.build is None) == (got.build is None), f"build: sent {entity.build}, read {got.build}")
    elif local is not None:
        _same_path(str(local), str(got.path))
    name, version = created.name, created.version
    _expect(version in _versions(operations, name), f"version {version} is not in the list")
    operations.archive(name, version=version)
    _expect(version not in _versions(operations, name), f"the archived version {version} is still in the list")
    operations.restore(name, version=version)
    _expect(version in _versions(operations, name), f"the restored version {version} is not in the list")


def _datastore(client: MLClient, path: Path) -> None:
    entity = sdk.load_datastore(path)
    client.datastores.create_or_update(entity)
    got = client.datastores.get(entity.name, include_secrets=True)
    _compare(entity, got, _DATASTORE_FIELDS)
    # without a DNS name for every account, the server writes its own address before the account's name
    sent, read = (str(getattr(one, "account_name", None)) for one in (entity, got))
    _expect(read.rpartition("/")[2] == sent, f"account_name: sent {sent!r}, read {read!r}")
    if (
        _plain(entity.type) != "azureblob"
    ):  # of containers that it hosts itself, the server hands out signatures of its own
        _compare(entity.credentials, got.credentials, ("type", "sas_token", "client_id", "client_secret", "tenant_id"))
    _expect(entity.name in {one.name for one in client.datastores.list()}, "it is not in the list")
    client.datastores.delete(entity.name)
    _gone(lambda: client.datastores.get(entity.name))


def _connection(client: MLClient, path: Path) -> None:
    entity = sdk.load_connection(path)
    client.connections.create_or_update(entity)
    got = client.connections.get(entity.name)
    _compare(entity, got, ("type", "target", "tags"))
    given = [field for field in _SECRETS if getattr(entity.credentials, field, None)]
    shown = [field for field in given if getattr(got.credentials, field, None)]
    _expect(not shown, f"secrets are shown to whoever reads it: {shown}")
    _compare(entity.credentials, got.credentials, ("type", "client_id", "resource_id"))
    stored = client.connections._operation.list_secrets(  # the client itself asks for the keys of an API only
        client.resource_group_name, client.workspace_name, entity.name
    ).properties.credentials
    lost = [field for field in given if getattr(stored, field, None) != getattr(entity.credentials, field)]
    _expect(not lost, f"what was sent of these is not what is kept: {lost}")
    _expect(entity.name in {one.name for one in client.connections.list()}, "it is not in the list")
    of_the_type = client.connections.list(connection_type=entity.type)
    _expect(entity.name in {one.name for one in of_the_type}, "it is not in the list of its type")
    client.connections.delete(entity.name)
    _gone(lambda: client.connections.get(entity.name))


def _compute(client: MLClient, path: Path) -> None:
    entity = sdk.load_compute(path)
    client.compute.begin_create_or_update(entity).result()
    got = client.compute.get(entity.name)
    _compare(entity, got, _COMPUTE_FIELDS)
    _expect(got.provisioning_state == "Succeeded", f"its state is {got.provisioning_state}")
    if (schedules := getattr(entity, "schedules", None)) is not None:
        sent = schedules.compute_start_stop[0].trigger.expression
        read = got.schedules and got.schedules.compute_start_stop[0].trigger.expression
        _expect(sent == read, f"schedule: sent {sent!r}, read {read!r}")
    if (identity := getattr(entity, "identity", None)) is not None:
        sent = {one.resource_id for one in identity.user_assigned_identities or []}
        read = {one.resource_id for one in (got.identity and got.identity.user_assigned_identities) or []}
        _expect(sent == read, f"identity: sent {sent}, read {read}")
    _expect(entity.name in {one.name for one in client.compute.list()}, "it is not in the list")
    client.compute.begin_delete(entity.name).result()
    _gone(lambda: client.compute.get(entity.name))


def _workspace(client: MLClient, path: Path) -> None:
    entity = sdk.load_workspace(path)
    client.workspaces.begin_create(entity).result()
    got = client.workspaces.get(entity.name)
    _compare(entity, got, _WORKSPACE_FIELDS)
    if (network := entity.managed_network) is not None:
        _expect(got.managed_network is not None, "its managed network is not read back")
        _compare(network, got.managed_network, ("isolation_mode",))
        sent = {one.name for one in network.outbound_rules or []}
        read = {one.name for one in got.managed_network.outbound_rules or []}
        _expect(sent <= read, f"outbound rules: sent {sorted(sent)}, read {sorted(read)}")
    _expect(entity.name in {one.name for one in client.workspaces.list()}, "it is not in the list")
    client.workspaces.begin_delete(entity.name, delete_dependent_resources=True).result()
    _gone(lambda: client.workspaces.get(entity.name))


def _online_endpoint(client: MLClient, path: Path) -> None:
    entity = sdk.load_online_endpoint(path)
    client.online_endpoints.begin_create_or_update(entity).result()
    got = client.online_endpoints.get(entity.name)
    _compare(entity, got, ("auth_mode", "description", "tags"))
    _expect(bool(got.scoring_uri), "it has no scoring URI")
    _expect(entity.name in {one.name for one in client.online_endpoints.list()}, "it is not in the list")
    _expect(bool(client.online_endpoints.get_keys(entity.name).primary_key), "it has no key")
    client.online_endpoints.begin_delete(entity.name).result()
    _gone(lambda: client.online_endpoints.get(entity.name))


def _batch_endpoint(client: MLClient, path: Path) -> None:
    entity = sdk.load_batch_endpoint(path)
    client.batch_endpoints.begin_create_or_update(entity).result()
    got = client.batch_endpoints.get(entity.name)
    _compare(entity, got, ("auth_mode", "description", "tags"))
    _expect(bool(got.scoring_uri), "it has no scoring URI")
    _expect(entity.name in {one.name for one in client.batch_endpoints.list()}, "it is not in the list")
    client.batch_endpoints.begin_delete(entity.name).result()
    _gone(lambda: client.batch_endpoints.get(entity.name))


def _versions(operations: Any, name: str) -> set[str]:
    return {one.version for one in operations.list(name=name)}


def _compare(sent: Any, read: Any, fields: tuple[str, ...]) -> None:
    """Each field that the example gives must come back; what it leaves out is the service's to choose."""
    for field in fields:
        given = getattr(sent, field, None)
        if given in (None, {}, []):
            continue
        before, after = _plain(given), _plain(getattr(read, field, None))
        _expect(_came_back(before, after), f"{field}: sent {before!r}, read {after!r}")


def _came_back(sent: Any, read: Any) -> bool:
    """Also within an input or output (`optional: false`), what the example leaves out is the service's to choose."""
    if isinstance(sent, dict) and isinstance(read, dict) and all(isinstance(one, dict) for one in sent.values()):
        return sent.keys() == read.keys() and all(sent[key].items() <= read[key].items() for key in sent)
    return bool(sent == read)


def _plain(value: Any) -> Any:
    """Values as YAML would show them; sizes and enumerations are the same in any case."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    if hasattr(value, "_to_dict"):
        return _plain(value._to_dict())
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Enum):
        value = value.value
    return str(value).lower().replace("_", "")


def _same_path(sent: str, read: str) -> None:
    if "://" in sent and sent.split(":")[0] in ("https", "wasbs"):
        _expect(sent == read, f"path: sent {sent!r}, read {read!r}")
    elif "datastores/" in sent:
        _expect(read.endswith(sent.split("datastores/")[1]), f"path: sent {sent!r}, read {read!r}")
    else:
        _expect(read.startswith("azureml://"), f"path: the local {sent!r} was read back as {read!r}")


def _gone(get: Any) -> None:
    try:
        get()
    except ResourceNotFoundError:
        return
    raise Different("it was deleted and can still be read")


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Different(otherwise)
