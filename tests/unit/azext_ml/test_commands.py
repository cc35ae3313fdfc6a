"""The table of commands, and what a command line makes of it: for `smalt ml`, and by the same table for `az ml`."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from smalt.azext_ml import groups, terminal
from smalt.azext_ml.arguments import REGISTRY
from smalt.azext_ml.errors import MLError, NoSDK, UsageError
from smalt.azext_ml.groups import COMMANDS, GROUPS
from smalt.azext_ml.table import Command

NOT_GIVEN = {"resource_group", "workspace_name", "yes"}  # what the command line takes for itself
GLOBAL = {"--help", "-h", "--output", "-o", "--query", "--debug", "--verbose", "--only-show-errors", "--subscription"}


class Server:
    """A connection that keeps what is asked of it and answers with given documents."""

    def __init__(self, documents: dict[str, Any] | None = None) -> None:
        self.documents = documents or {}
        self.sent: list[tuple[str, str, Any]] = []
        self.matched: list[str] = []
        self.group, self.workspace, self.tenant, self.subscription, self.registry = "", "", "", "s", ""

    def within(self, group: str, workspace: str) -> Server:
        self.group, self.workspace = group, workspace
        return self

    def in_registry(self, name: str) -> Server:
        if name == "missing":
            raise MLError("(ResourceNotFound) missing", 404, "ResourceNotFound")
        self.group, self.workspace, self.registry = "shared", "", name
        return self

    def get(self, path: str, **query: Any) -> Any:
        if path not in self.documents:
            raise MLError(f"(ResourceNotFound) {path}", 404, "ResourceNotFound")
        return self.documents[path]

    def act(self, method: str, path: str, body: Any = None, wait: bool = True, if_match: str = "") -> Any:
        self.matched.append(if_match)
        self.sent.append((method, path, body))
        if method == "PUT":
            self.documents[path] = {**self.documents[path], **body}
        return None

    def pages(self, path: str, **query: Any) -> Any:
        return iter(self.documents.get(path, []))


def run(arguments: list[str], server: Server, monkeypatch: pytest.MonkeyPatch, folder: Path, **more: Any) -> int:
    monkeypatch.setenv("AZURE_DEFAULTS_GROUP", "g")
    monkeypatch.setenv("AZURE_DEFAULTS_WORKSPACE", "w")
    return terminal.run(arguments, lambda: server, "smalt", folder, **more)  # type: ignore[arg-type, return-value]


CLUSTER = {
    "id": "/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/computes/cpu",
    "name": "cpu",
    "type": "t",
    "etag": "1",
    "location": "local",
    "tags": {"a": "b"},
    "properties": {
        "computeType": "AmlCompute",
        "provisioningState": "Succeeded",
        "properties": {
            "vmSize": "S",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"},
        },
    },
}


def cluster() -> dict[str, Any]:
    return {"computes/cpu": json.loads(json.dumps(CLUSTER))}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda one: one.name)
def test_options_of_a_command_are_distinct_and_taken(command: Command) -> None:
    spellings = [one for argument in command.arguments for one in argument.options]
    assert len(spellings) == len(set(spellings)) and not GLOBAL & set(spellings)
    dests = {argument.dest for argument in command.arguments}
    parameters = inspect.signature(command.run).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if not takes_all:
        assert dests - NOT_GIVEN - ({"registry_name"} if REGISTRY in command.arguments else set()) <= set(parameters)
    needed = {name for name, one in parameters.items() if one.default is one.empty and one.kind.name != "VAR_KEYWORD"}
    required = {argument.dest for argument in command.arguments if argument.required}
    assert needed - {"connection"} <= required


def test_the_groups_and_their_verbs() -> None:
    assert len(COMMANDS) == sum(len(group.commands) for group in GROUPS)
    verbs = {group.name: {one.verb for one in group.commands} for group in GROUPS}
    assert all({"create", "show", "list"} <= one for one in verbs.values())
    assert {
        "ml job",
        "ml component",
        "ml compute",
        "ml data",
        "ml datastore",
        "ml environment",
        "ml model",
        "ml schedule",
        "ml workspace",
        "ml online-endpoint",
        "ml online-deployment",
        "ml batch-endpoint",
        "ml batch-deployment",
        "ml registry",
    } == set(verbs)


def test_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(cluster())
    assert run(["compute", "show", "-n", "cpu", "-w", "other"], server, monkeypatch, tmp_path) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["max_instances"], shown["resourceGroup"], shown["type"]) == (2, "g", "amlcompute")
    assert (server.group, server.workspace) == ("g", "other")


@pytest.mark.parametrize(("verb", "on"), [("enable", True), ("disable", False)])
def test_what_others_changed_meanwhile_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str, on: bool
) -> None:
    server = Server({"schedules/nightly": {}})
    assert run(["schedule", verb, "-n", "nightly", "--no-wait"], server, monkeypatch, tmp_path) == 0
    assert server.sent == [("PATCH", "schedules/nightly", {"properties": {"isEnabled": on}})]


def test_what_is_not_there_is_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compute", "show", "-n", "no"], Server(), monkeypatch, tmp_path) == 3
    assert capsys.readouterr().err.startswith("ERROR: (ResourceNotFound)")
    assert run(["compute", "delete", "-n", "no", "-y"], Server(), monkeypatch, tmp_path) == 3


@pytest.mark.parametrize(
    "line",
    [
        ["compute", "show"],
        ["compute", "nonsense"],
        ["compute", "show", "-n", "x", "--wrong"],
        ["job", "list", "-r", "x"],
    ],
)
def test_a_line_that_is_not_understood_is_2(line: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(line, Server(), monkeypatch, tmp_path)
    assert ended.value.code == 2


def test_a_workspace_must_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AZURE_DEFAULTS_WORKSPACE", raising=False)
    monkeypatch.setenv("AZURE_DEFAULTS_GROUP", "g")
    with pytest.raises(SystemExit) as ended:
        terminal.run(["job", "list"], lambda: Server(), "smalt", tmp_path)  # type: ignore[arg-type, return-value]
    assert ended.value.code == 2


def test_update_sends_what_was_read_with_the_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = ["compute", "update", "-n", "cpu", "--max-instances", "5", "--set", "tags.c=d",
            "idle_time_before_scale_down=300", "-o", "none"]  # fmt: skip
    server = Server(cluster())
    assert run(line, server, monkeypatch, tmp_path) == 0
    ((method, path, body),) = server.sent
    assert (method, path) == ("PUT", "computes/cpu")
    assert body["properties"]["properties"]["scaleSettings"] == {
        "minNodeCount": 0,
        "maxNodeCount": 5,
        "nodeIdleTimeBeforeScaleDown": "PT300S",
    }
    assert server.matched == ["1"], "of two who change it at once one is told"
    assert body["tags"] == {"a": "b", "c": "d"} and not {"id", "etag", "name", "type"} & body.keys()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--set", "size=x"], "Cannot update 'size'"),
        (["--set", "nothing"], "is not key=value"),
        ([], "nothing to update"),
    ],
)
def test_an_update_that_is_refused(
    more: list[str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(cluster())
    assert run(["compute", "update", "-n", "cpu", *more], server, monkeypatch, tmp_path) == 1
    assert told in capsys.readouterr().err and not server.sent


def test_traffic_is_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = {"id": "/x/y", "name": "e", "properties": {"authMode": "Key", "traffic": {"old": 100}}}
    server = Server({"onlineEndpoints/e": document})
    line = ["online-endpoint", "update", "-n", "e", "--traffic", "blue=90 green=10", "-o", "none"]
    assert run(line, server, monkeypatch, tmp_path) == 0
    assert server.sent[0][2]["properties"]["traffic"] == {"blue": 90, "green": 10}


def test_a_deletion_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    server = Server(cluster())
    assert run(["compute", "delete", "-n", "cpu"], server, monkeypatch, tmp_path) == 1
    assert "Use --yes" in capsys.readouterr().err and not server.sent
    assert run(["compute", "delete", "-n", "cpu", "--yes"], server, monkeypatch, tmp_path) == 0
    assert server.sent == [("DELETE", "computes/cpu", None)]


def test_versions_and_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = "/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/data/churn"
    version = {"id": f"{base}/versions/2", "name": "2", "properties": {"dataUri": "u", "dataType": "uri_file"}}
    container = {"id": base, "name": "churn", "properties": {"latestVersion": "2"}}
    server = Server({"data/churn": container, "data/churn/versions/2": version})
    for chosen in (["-l", "latest"], ["-v", "2"]):
        assert run(["data", "show", "-n", "churn", *chosen], server, monkeypatch, tmp_path) == 0
        assert json.loads(capsys.readouterr().out)["version"] == "2"
    for wrong in ([], ["-v", "2", "-l", "latest"], ["-l", "best"]):
        assert run(["data", "show", "-n", "churn", *wrong], server, monkeypatch, tmp_path) == 1
        assert capsys.readouterr().err.startswith("ERROR: ")


def test_a_registry_in_place_of_the_workspace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = "azureml://registries/r/data/churn/versions/2"
    version = {"id": id_, "name": "2", "properties": {"dataUri": "u", "dataType": "uri_file", "isArchived": False}}
    server = Server({"data/churn/versions/2": version})
    of_it = ["-n", "churn", "-v", "2", "--registry-name", "r"]
    assert run(["data", "show", *of_it], server, monkeypatch, tmp_path) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["version"], server.registry) == (id_, "2", "r")
    assert run(["data", "update", *of_it, "--set", "description=new"], server, monkeypatch, tmp_path) == 0
    assert run(["data", "archive", *of_it], server, monkeypatch, tmp_path) == 0
    assert [one[:2] for one in server.sent] == [("PUT", "data/churn/versions/2")] * 2
    assert server.sent[-1][2]["properties"]["isArchived"] is True
    assert run(["data", "list", "--registry-name", "missing"], server, monkeypatch, tmp_path) == 3


def test_neither_a_workspace_nor_a_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GROUP", "WORKSPACE"):
        monkeypatch.delenv(f"AZURE_DEFAULTS_{name}", raising=False)
    assert terminal.run(["data", "list"], Server, "smalt", tmp_path) != 0  # type: ignore[arg-type]
    assert "--registry-name" in capsys.readouterr().err


def test_without_the_sdk_the_command_runs_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    monkeypatch.setattr("smalt.azext_ml.sdk._package", lambda: (_ for _ in ()).throw(NoSDK("no SDK")))
    (file := tmp_path / "job.yml").write_text("command: x")
    line = ["job", "create", "-f", str(file)]
    assert run(line, Server(), monkeypatch, tmp_path, elsewhere=lambda: 7) == 7
    assert run(line, Server(), monkeypatch, tmp_path) == 1
    assert "no SDK" in capsys.readouterr().err


def test_queries_and_formats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server({"computes": [CLUSTER, CLUSTER]})
    assert run(["compute", "list", "--query", "[].name", "-o", "tsv"], server, monkeypatch, tmp_path) == 0
    assert capsys.readouterr().out == "cpu\ncpu\n"
    assert run(["compute", "list", "-o", "table", "-r", "1"], server, monkeypatch, tmp_path) == 0
    header, _, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["Name", "Type", "Size", "State"] and row.split() == [
        "cpu",
        "amlcompute",
        "S",
        "Succeeded",
    ]


def test_help_of_every_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for line in (["--help"], *([one.name.split()[1], "--help"] for one in GROUPS), ["job", "create", "--help"]):
        with pytest.raises(SystemExit) as ended:
            run(line, Server(), monkeypatch, tmp_path)
        assert ended.value.code in (0, None)


def test_usage_errors_are_errors() -> None:
    assert issubclass(UsageError, MLError) and groups.COMMANDS


JOB = "$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json\ncommand: echo\nenvironment: azureml:e:1\n"


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (None, [], "No such file or directory"),
        ("command: [", [], "job.yml"),
        ("", [], "empty"),
        ("- command: echo\n", [], "Expect dict"),
        ("hello", [], "Expect dict"),
        (b"\xff\xfe\x00command", [], "utf-8"),
        (JOB + "comand: echo\n", [], "comand"),
        (JOB + "inputs: 7\n", [], "inputs"),
        (JOB + "limits:\n  timeout: soon\n", [], "timeout"),
        (JOB + "type: commando\n", [], "commando"),
        (JOB + "code: ./nowhere\n", [], "nowhere"),
        (JOB.replace("command: echo\n", ""), [], "command"),
        (JOB, ["--set", "limits.timeout=soon"], "timeout"),
        (JOB, ["--set", "command.deep=1"], "command"),
        (JOB, ["--set", "nothing"], "is not key=value"),
        (JOB, ["--set", "=x"], "is not key=value"),
    ],
)
def test_a_file_that_describes_no_job(
    text: str | bytes | None,
    more: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "job.yml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert run(["job", "create", "-f", str(file), *more], Server(), monkeypatch, tmp_path) == 1
    said = capsys.readouterr()
    assert said.err.startswith("ERROR: ") and told in said.err and "Traceback" not in said.err and not said.out


def test_a_folder_is_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["job", "create", "-f", str(tmp_path)], Server(), monkeypatch, tmp_path) == 1
    assert "is no file" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["show", "cancel", "archive", "restore", "stream", "update"])
def test_a_job_that_is_not_there_is_3(
    verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(*_: object, **__: object) -> None:
        raise MLError("(ResourceNotFound) jobs/no", 404, "ResourceNotFound")

    server = Server()
    monkeypatch.setattr(server, "act", act)
    more = ["--set", "tags.a=b"] if verb == "update" else []
    assert run(["job", verb, "-n", "no", *more], server, monkeypatch, tmp_path) == 3
    said = capsys.readouterr()
    assert said.err.startswith("ERROR: (ResourceNotFound)") and not said.out


def test_the_credentials_of_an_endpoint_are_what_opens_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class SignedIn(Server):
        def token(self, audience: str) -> str:
            return f"for {audience}"

    server = SignedIn({"onlineEndpoints/ep": {"properties": {"authMode": "AADToken"}}})
    assert run(["online-endpoint", "get-credentials", "-n", "ep"], server, monkeypatch, tmp_path) == 0
    assert json.loads(capsys.readouterr().out) == {"accessToken": "for https://ml.azure.com"}
