"""Where a commit is looked at."""

from __future__ import annotations

import pytest

from fakes.studio import HERE, StudioSite
from smalt.studio.pages.commit import page_of

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("repository", "page"),
    [
        ("https://github.com/a/b.git", f"https://github.com/a/b/commit/{SHA}"),
        ("git@github.com:a/b.git", f"https://github.com/a/b/commit/{SHA}"),
        ("ssh://git@git.example:2222/a/b", f"https://git.example/a/b/commit/{SHA}"),
        ("https://ada:hush@gitlab.example:8443/g/sub/b.git", f"https://gitlab.example:8443/g/sub/b/-/commit/{SHA}"),
        ("https://bitbucket.org/a/b", f"https://bitbucket.org/a/b/commits/{SHA}"),
        ("https://dev.azure.com/o/p%20q/_git/r", f"https://dev.azure.com/o/p%20q/_git/r/commit/{SHA}"),
        ('https://git.example/"><b>', f"https://git.example/%22%3E%3Cb%3E/commit/{SHA}"),
        ("/srv/git/b.git", ""),
        ("file:///srv/git/b.git", ""),
        ("javascript://github.com/%0aalert(1)", ""),
        ("https://[broken/a", ""),
        ("https://github.com", ""),
        ("", ""),
    ],
)
def test_a_commit_has_a_page_where_its_repository_has_one(repository: str, page: str) -> None:
    assert page_of({"mlflow.source.git.commit": SHA, "mlflow.source.git.repoURL": repository}) == page


@pytest.mark.parametrize("commit", ["", "main", "../../x", SHA + "?a=b"])
def test_what_is_no_commit_has_none(commit: str) -> None:
    git = {"mlflow.source.git.commit": commit, "azureml.git.repository_uri": "https://github.com/a/b"}
    assert page_of(git) == ""


def test_a_job_leads_to_its_commit(site: StudioSite) -> None:
    git = {
        "azureml.git.dirty": "True", "mlflow.source.git.commit": SHA,
        "mlflow.source.git.repoURL": "git@github.com:a/b.git",
    }  # fmt: skip
    site.submit("train-1", properties=git)
    page = site.open("/studio/jobs/train-1", {**HERE, "tab": "origin"}).text
    assert f'<a href="https://github.com/a/b/commit/{SHA}" rel="noreferrer">' in page and "nobody had committed" in page
    site.submit("train-2")
    assert "/commit/" not in site.open("/studio/jobs/train-2", {**HERE, "tab": "origin"}).text
