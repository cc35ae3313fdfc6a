"""A drill: a stranger has the login link, and goes by what pages show from a table to a scored row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from live.pages import follow
from live.platform import Platform

pytestmark = pytest.mark.e2e
FIRST_MS = 300_000  # the first job of an environment waits for its packages
TRAIN = """
import sys
from importlib.metadata import version
import mlflow, pandas as pd
from sklearn.linear_model import LinearRegression

flats = pd.read_csv(sys.argv[1])
features, rent = flats[["rooms", "floor"]].astype(float), flats["rent"]
model = LinearRegression().fit(features, rent)
mlflow.log_metric("score", model.score(features, rent))
needs = [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "pandas", "scikit-learn")]
signature = mlflow.models.infer_signature(features, model.predict(features))
mlflow.sklearn.log_model(model, "rents", signature=signature, pip_requirements=needs)
"""


def test_a_stranger_goes_from_the_link_to_a_scored_row(platform: Platform, studio: Page, tmp_path: Path) -> None:
    table, code = tmp_path / "flats.csv", tmp_path / "src"
    table.write_text(
        "rooms,floor,rent\n" + "".join(f"{n % 5},{n % 7},{300 * (n % 5) + 10 * (n % 7)}\n" for n in range(99))
    )
    code.mkdir()
    (code / "train.py").write_text(TRAIN)
    studio.goto(platform.login_link())

    follow(studio.get_by_role("link", name="Upload data"))
    studio.get_by_label("Choose files").set_input_files(table)
    studio.get_by_role("button", name="Register the data").click()
    expect(studio.get_by_role("region", name="Rows")).to_contain_text("rent")

    follow(studio.get_by_role("link", name="Home"))
    follow(studio.get_by_role("link", name="New job"))
    studio.get_by_label("Command").fill("python train.py ${{inputs.flats}}")
    studio.get_by_label("Name of input 1").fill("flats")
    studio.get_by_label("Type of input 1").select_option("uri_file")
    studio.get_by_label("Value of input 1").fill("azureml:flats:1")
    studio.locator("input[webkitdirectory]").set_input_files(code)
    expect(studio.get_by_text("1 file,")).to_be_visible()
    studio.get_by_role("button", name="Submit").click()
    expect(studio.locator("#live .status")).to_have_text("Completed", timeout=FIRST_MS)
    expect(studio.get_by_role("region", name="Metrics")).to_contain_text("score")

    studio.get_by_role("link", name="Register a model").click()
    expect(studio.get_by_label("Type")).to_have_value("mlflow_model")
    studio.get_by_role("button", name="Register the model").click()
    expect(studio.get_by_role("region", name="Inputs of the signature")).to_contain_text("rooms")

    follow(studio.get_by_role("link", name="Deploy"))  # three clicks
    studio.get_by_role("button", name="Deploy", exact=True).click()
    studio.get_by_role("link", name="Try it").click(timeout=FIRST_MS)

    body = studio.get_by_label("Body, in JSON")
    expect(body).to_have_value(re.compile("rooms"))
    example = json.loads(body.input_value())
    example["input_data"]["data"] = [[3, 5]]
    body.fill(json.dumps(example))
    studio.get_by_role("button", name="Ask").click()
    expect(studio.locator("[data-is=said]")).to_have_text(re.compile(r"200 after \d+ ms"))
    assert json.loads(studio.get_by_label("Answer").inner_text()) == [pytest.approx(950)]
