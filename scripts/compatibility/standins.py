"""Data that the examples fetch from the internet, replaced by files of the same shape that this machine has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingClassifier

_IRIS = "cli/jobs/pipelines/add-column-and-word-count-using-spark/data/iris.csv"
_HEART = "sdk/python/using-mlflow/deploy/data/heart.csv"
_PICTURE = "cli/endpoints/online/managed/binary-payloads/input.jpg"
_PUBLIC = "https://azuremlexamples.blob.core.windows.net/datasets"
_CREDIT_LABEL = "default payment next month"
_KERAS_MNIST = "tf.keras.datasets.mnist.load_data()"
_LOCAL_MNIST = (
    '(lambda a: ((a["x_train"], a["y_train"]), (a["x_test"], a["y_test"])))(__import__("numpy").load({file!r}))'
)


@dataclass(frozen=True)
class StandIn:
    """Where `address` stands in a row's file, the path of what `make(top, target)` leaves at `target` replaces it."""

    address: str
    file: str
    make: Callable[[Path, Path], None]


def _copy(source: str) -> Callable[[Path, Path], None]:
    return lambda top, target: Path(shutil.copyfile(top / source, target)) and None


def _iris_folder(top: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    shutil.copyfile(top / _IRIS, target / "iris.csv")


def _diabetes(top: Path, target: Path) -> None:
    load_diabetes(as_frame=True).frame.to_csv(target, index=False)


def _credit_frame(rows: int = 2000) -> pd.DataFrame:
    random = np.random.default_rng(7)
    features = random.integers(-2, 20_000, size=(rows, 23))
    frame = pd.DataFrame(features, columns=[f"X{number}" for number in range(1, 24)])
    frame[_CREDIT_LABEL] = (features[:, 0] + random.normal(0, 4000, rows) > 12_000).astype(int)
    return frame.rename_axis("ID")


def _credit(top: Path, target: Path) -> None:
    header = "," + ",".join(f"H{number}" for number in range(1, 25)) + "\n"  # upstream's file has a title line
    target.write_text(header + _credit_frame().to_csv())


# Longest address first: one is a prefix of another.
STAND_INS = (
    StandIn("wasbs://datasets@azuremlexamples.blob.core.windows.net/iris.csv", "iris.csv", _copy(_IRIS)),
    StandIn("wasbs://datasets@azuremlexamples.blob.core.windows.net/", "datasets", _iris_folder),
    StandIn("wasbs://demo@dprepdata.blob.core.windows.net/Titanic.csv", "Titanic.csv", _copy(_IRIS)),  # any table does
    StandIn(f"{_PUBLIC}/diabetes.csv", "diabetes.csv", _diabetes),
    StandIn(f"{_PUBLIC}/credit_card/default_of_credit_card_clients.csv", "credit.csv", _credit),
    StandIn(f"{_PUBLIC}/credit_card/default%20of%20credit%20card%20clients.csv", "credit.csv", _credit),
    StandIn(
        "https://azuremlexampledata.blob.core.windows.net/data/heart-disease-uci/data/heart.csv",
        "heart.csv",
        _copy(_HEART),
    ),
)


def use_stand_ins(top: Path, row: Path) -> None:
    """Make what the row's file names, beside it, and write the local path in the address's place."""
    text = row.read_text()
    for one in STAND_INS:
        if one.address in text:
            one.make(top, row.parent / one.file)
            text = text.replace(one.address, str(row.parent / one.file))
    row.write_text(text)


def use_local_picture(top: Path, row: Path) -> None:
    """For a notebook that downloads a picture with requests: a session that serves the one in the checkout."""
    text = row.read_text()
    fetch = 'r = requests.get(url, headers={\\"User-Agent\\": agent}, allow_redirects=True)'
    served = f'r = __import__(\\"types\\").SimpleNamespace(content=open(\\"{top / _PICTURE}\\", \\"rb\\").read())'
    row.write_text(text.replace(fetch, served))


def use_local_digits(top: Path, row: Path) -> None:
    """For code that downloads MNIST through keras (which checks a hash): random digits of the same shape."""
    random = np.random.default_rng(7)
    for file in (row, *(row.parent / "src").glob("*.py")):
        if _KERAS_MNIST not in (text := file.read_text()).replace("mnist.load_data()", _KERAS_MNIST):
            continue
        np.savez_compressed(
            file.parent / "mnist.npz",
            x_train=random.integers(0, 255, (6400, 28, 28), dtype=np.uint8),
            y_train=random.integers(0, 10, 6400, dtype=np.uint8),
            x_test=random.integers(0, 255, (640, 28, 28), dtype=np.uint8),
            y_test=random.integers(0, 10, 640, dtype=np.uint8),
        )
        local = _LOCAL_MNIST.format(file="mnist.npz")
        local = local.replace('"', '\\"') if file.suffix == ".ipynb" else local
        file.write_text(text.replace(_KERAS_MNIST, local).replace("= mnist.load_data()", f"= {local}"))


def use_readable_model(top: Path, row: Path) -> None:
    """For a model that scikit-learn 0.24 pickled, which later ones cannot read: the like, saved now."""
    folder = row.parent / "deploy" / "credit_defaults_model"
    shutil.rmtree(folder)
    frame = _credit_frame()
    labels = frame.pop(_CREDIT_LABEL)
    model = GradientBoostingClassifier(n_estimators=20).fit(frame.to_numpy(), labels)
    mlflow.sklearn.save_model(model, str(folder))


# What a row needs besides: by its path.
PREPARE: dict[str, Callable[[Path, Path], None]] = {
    "sdk/python/endpoints/online/managed/online-endpoints-binary-payloads.ipynb": use_local_picture,
    "cli/jobs/single-step/tensorflow/mnist-distributed/job.yml": use_local_digits,
    "sdk/python/jobs/single-step/tensorflow/mnist-distributed/tensorflow-mnist-distributed.ipynb": use_local_digits,
    "sdk/python/using-mlflow/train-and-log/keras_mnist_with_mlflow.ipynb": use_local_digits,
    "tutorials/get-started-notebooks/deploy-model.ipynb": use_readable_model,
}
