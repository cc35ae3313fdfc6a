"""Connections: made, read with and without their secrets, listed by type, changed, deleted."""

from azure.ai.ml.entities import (
    AccessKeyConfiguration,
    AzureOpenAIConnection,
    NoneCredentialConfiguration,
    PatTokenConfiguration,
    UsernamePasswordConfiguration,
    WorkspaceConnection,
)
from azure.core.exceptions import ResourceNotFoundError
from session import connect, refused, step, unique

ml = connect()
SECRET = f"s3cret-{unique}"

with step("a Git connection with a token"):
    git = WorkspaceConnection(
        name=f"git-{unique}",
        type="git",
        target="https://git.example/org/repo",
        credentials=PatTokenConfiguration(pat=SECRET),
    )
    made = ml.connections.create_or_update(git)
    assert (made.type, made.target, made.credentials.type) == ("git", git.target, "pat")
    assert made.credentials.pat is None
    assert ml.connections.get(git.name).credentials.pat is None

with step("a package index, a registry, a bucket, a database"):
    for name, type_, target, credentials in (
        ("feed", "python_feed", "https://feed.example/simple", UsernamePasswordConfiguration(username="u", password=SECRET)),
        ("registry", "container_registry", "https://registry.example", UsernamePasswordConfiguration(username="u", password=SECRET)),
        ("s3", "s3", "https://bucket.example", AccessKeyConfiguration(access_key_id="i", secret_access_key=SECRET)),
        ("snow", "snowflake", "jdbc:snowflake://a.example/?db=d", UsernamePasswordConfiguration(username="u", password=SECRET)),
        ("open", "generic_http", "https://open.example", NoneCredentialConfiguration()),
    ):  # fmt: skip
        made = ml.connections.create_or_update(
            WorkspaceConnection(name=f"{name}-{unique}", type=type_, target=target, credentials=credentials)
        )
        assert (made.type, made.target) == (type_, target), made

with step("an Azure OpenAI connection, whose key can be asked for"):
    openai = AzureOpenAIConnection(
        name=f"openai-{unique}", azure_endpoint="https://ai.example", api_key=SECRET, api_version="2024-05-01"
    )
    assert ml.connections.create_or_update(openai).api_key is None
    assert ml.connections.get(openai.name, populate_secrets=True).api_key == SECRET
    read = ml.connections.get(openai.name)
    assert isinstance(read, AzureOpenAIConnection) and read.api_version == "2024-05-01"
    read.tags["team"] = "risk"
    assert ml.connections.create_or_update(read, populate_secrets=True).api_key == SECRET, "an update lost the key"

with step("lists, by type and with secrets"):
    assert {one.name for one in ml.connections.list(connection_type="python_feed")} >= {f"feed-{unique}"}
    assert f"git-{unique}" not in {one.name for one in ml.connections.list(connection_type="python_feed")}
    keys = [one.api_key for one in ml.connections.list(populate_secrets=True) if one.name == openai.name]
    assert keys == [SECRET]

with step("deleted"):
    ml.connections.delete(git.name)
    with refused(kind=ResourceNotFoundError):
        ml.connections.get(git.name)
print("PASSED")
