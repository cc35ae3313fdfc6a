"""Workspaces: read, list, create through the client's ARM template, change, keys, delete; each has assets of its own."""

from azure.ai.ml.entities import Data, Workspace
from azure.core.exceptions import ResourceNotFoundError
from session import connect, refused, scratch, step, unique

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

with step("deleted, and nothing of it is left"):
    ml.workspaces.begin_delete(name, delete_dependent_resources=True).result()
    with refused(kind=ResourceNotFoundError):
        ml.workspaces.get(name)
    assert name not in {one.name for one in ml.workspaces.list()}
    with refused():
        team.data.get("only-here", version="1")

print("PASSED")
