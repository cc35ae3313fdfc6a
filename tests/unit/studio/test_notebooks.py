"""A notebook becomes a command job: papermill runs it with what the form gives, and the job says where its outcome is."""

from __future__ import annotations

import fnmatch
import shlex

import pytest

from fakes.examples import CURATED
from fakes.platform import WORKSPACE
from fakes.studio import HERE, StudioSite, form_token
from smalt.studio.documents import notebook_form
from smalt.studio.documents.written import Faulty

FIELDS = {
    "notebook": "my report.ipynb",
    "code": f"{WORKSPACE}/codes/c0de/versions/1",
    "parameter-name-0": "alpha", "parameter-value-0": "0.5", "parameter-kind-0": "value",
    "parameter-name-1": "name", "parameter-value-1": "a b; rm -rf *", "parameter-kind-1": "text",
    "parameter-name-2": "kept", "parameter-value-2": "", "parameter-kind-2": "value",
}  # fmt: skip


def test_parameters_are_inputs_that_papermill_is_given() -> None:
    found = notebook_form.document(FIELDS)
    assert found["inputs"] == {"alpha": 0.5, "name": "a b; rm -rf *"}
    assert found["environment"] == "azureml:compute-instance@latest"
    assert found["properties"] == {"smalt.notebook": "outputs/my report.ipynb"}
    ran = next(line for line in found["command"].splitlines() if line.startswith("papermill"))
    words = shlex.split(ran.replace("${{inputs.name}}", found["inputs"]["name"]))
    assert words[:6] == ["papermill", "-k", "python3", "--log-output", "--no-progress-bar", "./my report.ipynb"]
    assert words[6:] == ["outputs/my report.ipynb", "-p", "alpha", "${{inputs.alpha}}", "-r", "name", "a b; rm -rf *"]


@pytest.mark.parametrize(
    "change",
    [
        {"notebook": ""},
        {"notebook": "a.py"},
        {"notebook": "../a.ipynb"},
        {"notebook": "a$b.ipynb"},
        {"notebook": "a\\b.ipynb"},
        {"notebook": "é" * 125 + ".ipynb"},
        {"code": ""},
        {"parameter-name-0": "a b"},
        {"parameter-value-0": '"; true "'},
        {"parameter-value-0": "$(true)"},
        {"parameter-value-0": "`true`"},
        {"parameter-value-0": "a\nb"},
    ],
)
def test_what_a_shell_would_take_for_something_else_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Faulty):
        notebook_form.document({**FIELDS, **change})


@pytest.mark.parametrize(
    "name",
    ["-k.ipynb", "..ipynb", " a  b .ipynb", 'It\'s "1" `x`.ipynb', "a[1]*?.ipynb", "{a}.ipynb", "🐛" * 62 + ".ipynb"],
)
def test_a_notebook_may_be_named_as_people_name_files(name: str) -> None:
    found = notebook_form.document({"notebook": name, "code": FIELDS["code"]})
    _, papermill, _, nbconvert, _ = found["command"].splitlines()
    *_, run, ran = shlex.split(papermill)
    assert (run.format(), ran.format()) == (f"./{name}", f"outputs/{name}"), "papermill formats its paths"
    assert fnmatch.fnmatchcase(f"outputs/{name}", shlex.split(nbconvert)[-1]), "nbconvert globs its paths"
    assert found["properties"] == {"smalt.notebook": f"outputs/{name}"}


def test_the_form_sends_it_and_the_job_leads_to_what_ran(site: StudioSite) -> None:
    code = {"codeUri": "azureml://datastores/workspaceblobstore/paths/code", "properties": {"hash_sha256": "abc"}}
    assert site.harness.put(FIELDS["code"], {"properties": code}).status_code == 201
    page = site.open("/studio/jobs/new", {**HERE, "mode": "notebook"})
    assert page.status_code == 200 and "compute-instance@latest" in page.text
    fields = {**FIELDS, "environment": CURATED}
    preview = site.send_form("/studio/jobs/new/notebook/preview", form_token(page.text), fields)
    assert preview.status_code == 200 and "smalt.notebook" in preview.text and "papermill" in preview.text
    sent = site.send_form("/studio/jobs/new/notebook", form_token(page.text), fields)
    assert sent.status_code == 303, sent.text
    job = site.open(sent.headers["location"].partition("?")[0]).text
    assert "path=outputs&amp;file=my+report.ipynb" in job
    wrong = site.send_form("/studio/jobs/new/notebook", form_token(page.text), {**fields, "code": ""})
    assert wrong.status_code == 400 and "was not uploaded" in wrong.text
