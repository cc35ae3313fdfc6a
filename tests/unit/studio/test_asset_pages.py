"""Pages of models, environments, components and datastores, those of a registry, and the form that registers uploads."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fakes import deployments
from fakes.examples import CURATED, REGISTRY, prepare
from fakes.platform import WORKSPACE
from fakes.studio import HERE, form_token
from fakes.studio_files import UPLOADS, FilesSite
from smalt.agent.wire import Ref
from smalt.arm.yaml_text import read_yaml
from smalt.studio.pages.assets import named, without_aliases
from smalt.studio.pages.environments import differing

SCRIPT = "<script>alert('x')</script>"
MLMODEL = b"""flavors: {sklearn: {}, python_function: {}}
signature:
  inputs: '[{"name": "<script>alert(1)</script>", "type": "double"}, {"name": "b", "type": "long", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FilesSite]:
    made = FilesSite(tmp_path)
    yield made
    made.close()


def shown(site: FilesSite, page: str, /, **query: str) -> str:
    answer = site.open(f"/studio{page}", {**HERE, **query})
    assert answer.status_code == 200, answer.text
    return answer.text


def model(site: FilesSite, mlmodel: bytes = MLMODEL, **more: Any) -> None:
    site.upload("m/MLmodel", mlmodel)
    site.version("models/scorer/versions/1", modelUri=f"{UPLOADS}/m", modelType="mlflow_model", **more)


def test_a_model_has_its_signature_job_and_files(site: FilesSite) -> None:
    site.submit("train-1", parameters={"rate": "0.1"})
    site.harness.settle()
    site.upload("m/MLmodel", MLMODEL)
    model(site, jobName="train-1", stage="Production", description=SCRIPT)
    assert "<td>Production" in shown(site, "/models/scorer")
    page = shown(site, "/models/scorer/1")
    assert SCRIPT not in page and "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    for part in (
        "sklearn",
        "long, optional",
        "int64 [-1]",
        "/studio/endpoints/new?model=scorer%3A1",
        "/studio/jobs/train-1",
    ):
        assert part in page, part
    assert "MLmodel" in shown(site, "/models/scorer/1", tab="files")
    done = site.send_form(
        "/studio/models/scorer/1/tags", form_token(page), {"tag-name-0": "a", "tag-value-0": "b", "stage": "Archived"}
    )
    assert done.status_code == 303
    row = site.harness.row(f"{WORKSPACE}/models/scorer/versions/1")
    assert row.properties["stage"] == "Archived" and row.properties["tags"] == {"a": "b"}


def test_a_job_says_from_what_it_came_and_what_came_of_it(site: FilesSite) -> None:
    site.version("data/trips/versions/1", dataType="uri_folder", dataUri=f"{UPLOADS}/trips/")
    site.submit("train-1", inputs={"trips": {"jobInputType": "uri_folder", "uri": "azureml:trips:1"}})
    site.harness.settle()
    model(site, jobName="train-1")
    page = shown(site, "/jobs/train-1")
    sources, uses = page.index("<h2>From what it came"), page.index("<h2>What came of it")
    assert sources < page.index("/studio/data/trips/1", sources) < uses < page.index("/studio/models/scorer/1")


def test_tags_are_those_of_the_form_and_no_others(site: FilesSite) -> None:
    tags = {"a=b": "1", "k": "l1\nl2=x", "gone": "y"}
    model(site, tags=tags)
    page = shown(site, "/models/scorer/1")
    fields = dict(re.findall(r'<input name="(tag-name-\d+)"[^>]* value="([^"]*)"', page))
    fields |= dict(re.findall(r'<textarea name="(tag-value-\d+)"[^>]*>\n([^<]*)</textarea>', page))
    fields["etag"] = html.unescape(re.findall(r'name="etag" value="([^"]+)"', page)[0])

    def sent(**changed: str) -> httpx.Response:
        return site.send_form("/studio/models/scorer/1/tags", form_token(page), {**fields, **changed})

    row = f"{WORKSPACE}/models/scorer/versions/1"
    gone = next(name for name, value in fields.items() if value == "gone")
    assert sent(**{gone: "", "description": "only this"}).status_code == 303
    assert site.harness.row(row).properties["tags"] == {"a=b": "1", "k": "l1\nl2=x"}
    assert sent().status_code == 412, "somebody else has written since"


def test_a_model_says_who_serves_it_now(site: FilesSite) -> None:
    prepare(site.harness, deployments.KEY)
    assert "No deployment answers with it" in shown(site, "/models/churn-model/1")
    deployments.deploy(site.harness)
    deployments.come_up(site.harness)
    page = shown(site, "/models/churn-model/1")
    assert "No deployment answers with it" not in page and page.count("churn-scores / blue") == 2
    site.harness.send("DELETE", deployments.BLUE)
    site.harness.settle()
    assert "No deployment answers with it" in shown(site, "/models/churn-model/1")


@pytest.mark.parametrize("text", [b"", b"a: &x [*x]", b"[", b"signature: {inputs: 'no'}", b"- 1", b"\xff\xfe"])
def test_a_model_that_is_none_has_a_page(site: FilesSite, text: bytes) -> None:
    model(site, text)
    assert "signature" in shown(site, "/models/scorer/1").lower()


def test_what_a_job_wrote_is_read_off_the_event_loop(site: FilesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = list[bool]()

    def read(text: bytes) -> object:
        threads.append(threading.current_thread() is threading.main_thread() or len(text) > 64 << 10)
        return read_yaml(text)

    monkeypatch.setattr("smalt.studio.pages.models.read_yaml", read)
    model(site, b"- a\n" * (1 << 18))
    assert "Its MLmodel cannot be read." in shown(site, "/models/scorer/1")
    assert threads == [False], "1 MiB of YAML, or in the thread that answers everybody"


def test_a_model_may_be_one_file(site: FilesSite) -> None:
    site.upload("weights.txt", b"42")
    site.version("models/plain/versions/1", modelUri=f"{UPLOADS}/weights.txt", modelType="custom_model")
    page = shown(site, "/models/plain/1", tab="files")
    assert "weights.txt" in page and ">42<" in page
    assert site.open("/studio/models/plain/1/file", {**HERE, "path": ""}).text == "42"
    assert site.open("/studio/models/plain/1/file", {**HERE, "path": "below"}).status_code == 404


def test_an_environment_says_how_its_builds_stand(site: FilesSite) -> None:
    site.version("environments/mine/versions/1", image="python:3.11", condaFile="name: <b>x</b>")
    site.version("environments/docker/versions/1", build={"contextUri": f"{UPLOADS}/context"})
    context = shown(site, "/environments/docker/1")
    assert "needs a container engine" in context and "A job or a deployment in it is refused" in context
    assert "Use it" not in context and "New version, of a conda file" in context
    for tab in ("log", "packages"):
        assert "it cannot be built here" in shown(site, "/environments/docker/1", tab=tab)
    assert 'value="docker"' in shown(site, "/environments/new", **{"from": "docker:1"})
    builder = site.harness.environments
    builder.build_at_once = False
    page = shown(site, "/environments/mine/1")
    assert "not built yet" in page and "&lt;b&gt;x&lt;/b&gt;" in page and "data-again" not in page
    site.submit("train-1", environmentId="azureml:mine:1")
    site.harness.settle()
    page = shown(site, "/environments/mine/1")
    assert 'data-state="Creating"' in page and 'data-again="2000"' in page
    key = site.harness.get(f"{WORKSPACE}/environments/mine/versions/1/builds").json()["jobs"]["key"]
    site.harness.blobs.write(Ref(*builder.log(key)), b"Resolving <b>numpy</b>")
    assert "Resolving &lt;b&gt;numpy" in shown(site, "/environments/mine/1", tab="log")
    builder.locks[key] = {"numpy": "2.1.0"}
    assert "2.1.0" in shown(site, "/environments/mine/1", tab="packages")
    page = shown(site, "/environments/mine/1", tab="packages", **{"with": "docker:1"})
    assert "was not built here" in page
    assert "NAME:VERSION" in shown(site, "/environments/mine/1", tab="packages", **{"with": "docker"})
    assert "/studio/jobs/train-1" in shown(site, "/environments/mine/1", tab="jobs")
    assert "/studio/jobs/train-1" not in shown(site, "/environments/docker/1", tab="jobs")


def test_locks_differ_in_versions_and_in_what_is_missing() -> None:
    assert differing({"a": "1", "b": "2", "C": "3"}, {"a": "1", "b": "3", "d": "4"}) == [
        ("b", "2", "3"),
        ("C", "3", ""),
        ("d", "", "4"),
    ]


def test_a_component_says_what_it_takes_and_runs(site: FilesSite) -> None:
    spec = {
        "type": "command",
        "command": "python t.py ${{inputs.rate}}",
        "environment": "azureml:sklearn-1.5:12",
        "inputs": {"rate": {"type": "number", "default": 0.5, "optional": True, "description": SCRIPT}},
        "outputs": {"model": {"type": "mlflow_model"}},
    }
    site.version("components/train/versions/1", componentSpec=spec)
    page = shown(site, "/components/train/1")
    assert SCRIPT not in page and "python t.py" in page and "optional" in page and "<td>0.5" in page
    assert "type: mlflow_model" in page and "azureml:train:1" in page
    assert ">train<" in shown(site, "/components")


def test_a_datastore_is_browsed_and_others_are_said_to_be_elsewhere(site: FilesSite) -> None:
    site.upload("raw/<b>.txt", b"x")
    assert "raw/" in shown(site, "/datastores/workspaceblobstore")
    page = shown(site, "/datastores/workspaceblobstore", path="raw")
    assert (
        "&lt;b&gt;.txt" in page
        and "<b>.txt" not in page
        and "azureml://datastores/workspaceblobstore/paths/raw/" in page
    )
    site.version(
        "datastores/far",
        datastoreType="AzureFile",
        accountName="a",
        fileShareName="share",
        credentials={"credentialsType": "None"},
    )
    assert "share" in shown(site, "/datastores") and ">far<" not in shown(site, "/datastores", searchText="workspace")
    page = shown(site, "/datastores/far")
    assert "storage outside of this platform" in page and "s-upload" not in page
    assert site.open("/studio/datastores/none").status_code == 404


def test_what_was_uploaded_becomes_the_next_version(site: FilesSite) -> None:
    page = shown(site, "/data/new")
    token, uri = form_token(page), f"{UPLOADS}/uploads/1/a.csv"
    form = {"name": "fresh", "dataType": "uri_file", "uri": uri, "description": "d", "version": ""}
    for expected in ("1", "2"):
        done = site.send_form("/studio/data/new", token, form)
        assert done.status_code == 303 and done.headers["location"].startswith(f"/studio/data/fresh/{expected}?")
    assert site.harness.row(f"{WORKSPACE}/data/fresh/versions/2").properties["dataUri"] == uri
    for wrong in (
        {"uri": ""},
        {"uri": "https://example.org/a"},
        {"dataType": "x"},
        {"name": ""},
        {"name": "a b"},
        {"version": "a/b"},
    ):
        refused = site.send_form("/studio/data/new", token, {**form, **wrong})
        assert refused.status_code in (400, 404) and 'role="alert"' in refused.text, wrong
    again = site.send_form("/studio/data/new", token, {**form, "version": "1", "uri": f"{uri}2"}, {"smalt-form": "1"})
    assert again.json()["status"] == 412 and "<form data-stays" in page, "what was uploaded is not lost"


def test_a_model_is_registered_of_what_a_job_left(site: FilesSite) -> None:
    site.submit("train-1")
    site.harness.settle()
    artifacts = site.harness.row(f"{WORKSPACE}/datastores/workspaceartifactstore").properties
    place = str(artifacts["accountName"]), str(artifacts["containerName"])
    for name in ("outputs/best/MLmodel", "outputs/best/model.pkl", "outputs/plots/a.png", "flat.txt"):
        site.harness.blobs.write(Ref(*place, f"ExperimentRun/dcid.train-1/{name}"), b"x")
    found = shown(site, "/models/new", job="train-1")
    assert 'value="runs:/train-1/outputs/best"' in found and "<option selected>mlflow_model" in found
    assert 'name="name" value="best"' in found and "outputs/plots" not in found
    told = shown(site, "/models/new", job="train-1", path="outputs/plots")
    assert 'value="runs:/train-1/outputs/plots"' in told and "<option selected>mlflow_model" not in told
    assert "<option selected>uri_file" in shown(site, "/data/new", job="train-1", path="flat.txt")
    assert "<option selected>uri_folder" in shown(site, "/data/new", job="train-1", path="outputs/plots")
    assert site.open("/studio/models/new", {**HERE, "job": "none"}).status_code == 404
    form = {"name": "best", "job": "train-1", "uri": "runs:/train-1/outputs/best", "modelType": "mlflow_model"}
    done = site.send_form("/studio/models/new", form_token(found), form)
    assert done.status_code == 303 and done.headers["location"].startswith("/studio/models/best/1?")
    made = site.harness.row(f"{WORKSPACE}/models/best/versions/1").properties
    assert made["jobName"] == "train-1" and made["modelUri"].endswith("dcid.train-1/outputs/best")
    for wrong in ({"uri": "runs:/none/x"}, {"uri": "runs:/train-1/../y"}, {"uri": ""}, {"modelType": "uri_file"}):
        refused = site.send_form("/studio/models/new", form_token(found), {**form, "name": "other", **wrong})
        assert refused.status_code in (400, 404) and 'role="alert"' in refused.text, wrong


def test_a_registrys_assets_have_the_same_pages(site: FilesSite) -> None:
    assert site.harness.put(REGISTRY, {"location": "local", "properties": {}}).status_code == 202
    site.harness.settle()
    site.version("components/mine/versions/1", componentSpec={"type": "command", "command": "echo"})
    spec = {"properties": {"componentSpec": {"type": "command", "command": "echo"}}}
    assert site.harness.put(f"{REGISTRY}/components/shared-step/versions/1", spec).status_code in (200, 201)
    page = shown(site, "/components", registry="SHARED")
    assert ">shared-step<" in page and ">mine<" not in page and "registry=SHARED" in page
    page = shown(site, "/components/shared-step/1", registry="shared")
    assert "azureml://registries/shared/components/shared-step/versions/1" in page
    headers = {"cookie": site.cookie, "origin": site.harness.settings.url, "sec-fetch-site": "same-origin"}
    query, form = {**HERE, "registry": "shared"}, {"token": form_token(page)}
    done = site.ask("POST", "/studio/components/shared-step/1/archive", query, headers=headers, data=form)
    assert done.status_code == 303 and "registry=shared" in done.headers["location"]
    assert site.harness.row(f"{REGISTRY}/components/shared-step/versions/1").archived
    assert site.open("/studio/components", {**HERE, "registry": "none"}).status_code == 404


@pytest.mark.parametrize(("home", "query"), [(WORKSPACE, {}), (REGISTRY, {"registry": "shared"})])
def test_files_in_a_container_of_their_own_are_shown(site: FilesSite, home: str, query: dict[str, str]) -> None:
    site.harness.put(REGISTRY, {"location": "local", "properties": {}})
    site.harness.settle()
    version = f"{home}/models/own/versions/1"
    uri = site.harness.send("POST", f"{version}/startPendingUpload", {}).json()["blobReferenceForConsumption"][
        "blobUri"
    ]
    account, container = urlsplit(uri).path.strip("/").split("/")
    site.harness.blobs.write(Ref(account.partition(".")[0], container, "folder/MLmodel"), MLMODEL)
    made = site.harness.put(version, {"properties": {"modelUri": f"{uri}/folder", "modelType": "mlflow_model"}})
    assert made.status_code in (200, 201), made.text
    assert "long, optional" in shown(site, "/models/own/1", **query)
    page = shown(site, "/models/own/1", tab="files", **query)
    assert ">MLmodel<" in page and ("registry=shared" in page) == bool(query)
    downloaded = site.open("/studio/models/own/1/file", {**HERE, **query, "path": "MLmodel"})
    assert downloaded.content == MLMODEL


def test_a_job_leads_to_its_data_environment_and_code(site: FilesSite) -> None:
    code = f"{WORKSPACE}/codes/c1/versions/1"
    site.upload("code/c1/train.py", b"print('<b>hello')\n")
    site.upload("code/c1/lib/deep.py", b"1\n")
    assert site.harness.put(code, {"properties": {"codeUri": f"{UPLOADS}/code/c1/"}}).status_code == 201
    site.upload("houses/a.csv", b"a\n1\n")
    data = {"properties": {"dataType": "uri_folder", "dataUri": f"{UPLOADS}/houses/"}}
    assert site.harness.put(f"{WORKSPACE}/data/houses/versions/1", data).status_code == 201
    given = {"houses": {"jobInputType": "uri_folder", "uri": f"{WORKSPACE}/data/houses/versions/1"}}
    site.submit("train-1", codeId=code, inputs=given)
    overview = shown(site, "/jobs/train-1")
    assert re.search(r'<a href="/studio/data/houses/1\?wsid[^"]*" title="[^"]*">houses:1</a>', overview)
    origin = shown(site, "/jobs/train-1", tab="origin")
    assert re.search(r'<a href="/studio/environments/[^"]+" title="[^"]*">[\w.-]+:\d+</a>', origin)
    assert ">train.py</a>" in origin and ">lib" in origin
    assert "<code>/subscriptions/" not in overview + origin
    assert "&lt;b&gt;hello" in shown(site, "/jobs/train-1/code", tab="origin", file="train.py")
    assert "deep.py" in shown(site, "/jobs/train-1/code", tab="origin", path="lib/")
    assert b"hello" in site.open("/studio/jobs/train-1/code/file", {**HERE, "path": "train.py"}).content
    site.submit("bare")
    assert site.open("/studio/jobs/bare/code/file", {**HERE, "path": "train.py"}).status_code == 404


def test_environments_of_ones_own_are_not_among_the_curated(site: FilesSite) -> None:
    assert "origin=curated" in shown(site, "/environments")
    site.version("environments/mine/versions/1", image="python:3.11")
    own, curated = shown(site, "/environments"), shown(site, "/environments", origin="curated")
    name = CURATED.removeprefix("azureml:").partition("@")[0]
    assert ">mine</a>" in own and f">{name}</a>" not in own
    assert ">mine</a>" not in curated and f">{name}</a>" in curated
    both = shown(site, "/environments", origin="all")
    assert ">mine</a>" in both and f">{name}</a>" in both
    form = shown(site, "/jobs/new")
    assert form.index('value="azureml:mine@latest">') < form.index(f'value="azureml:{name}@latest">')


def test_a_curated_environment_is_listed_once() -> None:
    found = [{"name": one} for one in ("AzureML-sklearn-1.5", "sklearn-1.5", "AzureML-own")]
    assert [one["name"] for one in without_aliases(found)] == ["sklearn-1.5", "AzureML-own"]


def test_the_code_of_two_jobs_is_compared_line_by_line(site: FilesSite) -> None:
    codes = {
        "a": {"train.py": b"import os\nprint('<b>1')\n", "old.py": b"1", "same.py": b"s", "p.bin": b"\0a"},
        "b": {"train.py": b"import os\nprint('<b>2')\n", "new/n.py": b"1", "same.py": b"s", "p.bin": b"\0b"},
    }
    for name, files in codes.items():
        for file, content in files.items():
            site.upload(f"code/{name}/{file}", content)
        code = f"{WORKSPACE}/codes/{name}/versions/1"
        assert site.harness.put(code, {"properties": {"codeUri": f"{UPLOADS}/code/{name}/"}}).status_code == 201
        site.submit(f"of-{name}", codeId=code)
    site.submit("of-c", codeId=f"{WORKSPACE}/codes/a/versions/1")
    page = shown(site, "/jobs/compare/code", jobs="of-a,of-b")
    assert "-print(&#39;&lt;b&gt;1&#39;)" in page and "+print(&#39;&lt;b&gt;2&#39;)" in page and "same.py" not in page
    assert "<code>old.py</code>" in page and "<code>new/n.py</code>" in page and "which are no text" in page
    assert "byte by byte" in shown(site, "/jobs/compare/code", jobs="of-a,of-c")
    site.submit("bare")
    for jobs, status in (("of-a,bare", 404), ("of-a,none", 404), ("of-a,of-b,bare", 400), ("of-a", 400)):
        assert site.open("/studio/jobs/compare/code", {**HERE, "jobs": jobs}).status_code == status, jobs


def test_the_environment_of_a_run_outside_of_jobs_has_no_page() -> None:
    visit: Any = SimpleNamespace(link=lambda path, **_: f"/studio{path}")
    of_run = f"{WORKSPACE}/environments/outside-of-jobs/versions/0"
    assert named(visit, of_run) == ("none of the platform's", "", "environment")
    assert named(visit, f"{WORKSPACE}/environments/mine/versions/2")[:2] == ("mine:2", "/studio/environments/mine/2")
