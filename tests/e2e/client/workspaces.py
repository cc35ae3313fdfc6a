"""Workspaces: read, list, create through the client's ARM template, change, keys, delete; each has assets of its own."""

from azure.ai.ml.entities import Data, Workspace
from azure.core.exceptions import ResourceNotFoundError
from session import connect, refused, resource_manager, scratch, step, unique

ml = connect()

with step("the workspace that was there from the beginning"):
    home = ml.workspaces.get(ml.workspace_name)
    assert home.name == ml.workspace_name and home.location == "local"
    assert home.discovery_url.endswith("/discovery") and home.mlflow_tracking_uri.startswith("azureml://")
    assert ml.workspace_name in {one.name for one in ml.workspaces.list()}

name = f"team-{unique}"
with step("a new one, through the template deployment that the client sends"):
    made = ml.workspaces.begin_create(
        Workspace(name=name, location="local", display_name="The team", description="ours", tags={"team": "a"})
    ).result()
    assert made.name == name and made.display_name == "The team" and made.tags["team"] == "a", made
    assert name in {one.name for one in ml.workspaces.list()}

with step("it is changed"):
    made.display_name, made.tags = "The other team", {"team": "b"}
    changed = ml.workspaces.begin_update(made).result()
    assert changed.display_name == "The other team" and changed.tags["team"] == "b"
    assert ml.workspaces.get(name).display_name == "The other team"

with step("keys"):
    keys = ml.workspaces.get_keys(name)
    assert keys.user_storage_key, keys

with step("what is in it is in no other"):
    team = connect(workspace=name)
    text = scratch / "a.txt"
    text.write_text("a")
    team.data.create_or_update(Data(name="only-here", path=str(text), type="uri_file", version="1"))
    assert [one.name for one in team.data.list()] == ["only-here"]
    with refused(kind=ResourceNotFoundError):
        ml.data.get("only-here", version="1")

with step("what stands beside it is there, and in the lists of a management client"):
    made = ml.workspaces.get(name)
    beside = [made.storage_account, made.key_vault, made.container_registry, made.application_insights]
    manager = resource_manager(ml)
    for id_ in beside:
        assert manager.resources.get_by_id(id_, "2024-10-01").id == id_
        assert manager.resources.check_existence_by_id(id_, "2024-10-01")
    group = ml.resource_group_name
    assert set(beside) <= {one.id for one in manager.resources.list_by_resource_group(group)}
    (found,) = manager.resources.list(
        filter=f"resourceType eq 'Microsoft.KeyVault/vaults' and name eq '{beside[1].split('/')[-1]}'"
    )
    assert found.id == beside[1]
    tags = manager.tags.update_at_scope(beside[1], {"operation": "Merge", "properties": {"tags": {"team": "b"}}})
    assert tags.properties.tags == {"team": "b"}
    assert manager.providers.get("Microsoft.KeyVault").registration_state == "Registered"

with step("a resource group"):
    assert not manager.resource_groups.check_existence(f"group-{unique}")
    assert manager.resource_groups.create_or_update(f"group-{unique}", {"location": "local"}).name == f"group-{unique}"
    assert manager.resource_groups.check_existence(f"group-{unique}")
    manager.resource_groups.begin_delete(f"group-{unique}").result()
    assert not manager.resource_groups.check_existence(f"group-{unique}")

with step("deleted, and nothing of it is left"):
    ml.workspaces.begin_delete(name, delete_dependent_resources=True).result()
    with refused(kind=ResourceNotFoundError):
        ml.workspaces.get(name)
    assert name not in {one.name for one in ml.workspaces.list()}
    with refused():
        team.data.get("only-here", version="1")
    for id_ in beside:
        assert not manager.resources.check_existence_by_id(id_, "2024-10-01")

print("PASSED")
