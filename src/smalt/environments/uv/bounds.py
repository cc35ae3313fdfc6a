"""Bounds that conda's metadata has and PyPI's lacks: what imports only with an older companion.

They are soft: a user's own pin wins, and a bound that does not resolve is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.version import Version

# The first release of each that is compiled against numpy 2; older ones fail at import with it.
_NUMPY_2_SINCE = {
    "astropy": "6.1",
    "bottleneck": "1.4",
    "catboost": "1.2.8",
    "cftime": "1.6.4",
    "contourpy": "1.2.1",
    "fastparquet": "2024.5",
    "gensim": "4.3.4",
    "h5py": "3.11",
    "hdbscan": "0.8.37",
    "lightgbm": "4.4",
    "matplotlib": "3.8.4",
    "netcdf4": "1.7",
    "numba": "0.60",
    "numexpr": "2.10",
    "onnxruntime": "1.19",
    "opencv-python": "4.10.0.84",
    "opencv-python-headless": "4.10.0.84",
    "pandas": "2.2.2",
    "pmdarima": "2.1",
    "pyarrow": "16.1",
    "pywavelets": "1.6",
    "scikit-image": "0.23",
    "scikit-learn": "1.4.2",
    "scipy": "1.13",
    "shap": "0.46",
    "shapely": "2.0.4",
    "spacy": "3.8.2",
    "statsmodels": "0.14.2",
    "tables": "3.9.3",
    "tensorflow": "2.18",
    "thinc": "8.3",
    "torch": "2.3",
    "xgboost": "2.1",
}


@dataclass(frozen=True)
class Bound:
    """`package` before `below` works only with `limit`; with `python`, only from that 3.x on."""

    package: str
    below: str
    limit: str
    reason: str
    python: int = 0


_BOUNDS = (
    *(Bound(name, since, "numpy<2", "is made for numpy 1") for name, since in _NUMPY_2_SINCE.items()),
    Bound("scikit-learn", "1.1", "numpy<1.24", "uses names that numpy 1.24 removed"),
    Bound("xgboost", "1.6", "pandas<2", "uses names that pandas 2 removed"),
    Bound("xgboost", "1.6", "numpy<1.24", "uses names that numpy 1.24 removed"),
    Bound("mlflow", "2.0", "sqlalchemy<2", "is made for SQLAlchemy 1"),
    Bound("mlflow", "1.27", "protobuf<3.21", "holds code that newer protobuf refuses"),
    Bound("mlflow", "2.0", "pandas<2", "is made for pandas 1"),
    Bound("mlflow-skinny", "1.27", "protobuf<3.21", "holds code that newer protobuf refuses"),
    Bound("tensorboard", "2.9", "protobuf<3.21", "holds code that newer protobuf refuses"),
    Bound("tensorflow", "2.12", "protobuf<3.21", "holds code that newer protobuf refuses"),
    Bound("flask", "2.3", "werkzeug<3", "uses names that Werkzeug 3 removed"),
    Bound("wrapt", "1.14", "wrapt>=1.14", "does not import", python=11),
    Bound("jinja2", "3.0", "markupsafe<2.1", "uses names that MarkupSafe 2.1 removed"),
)


def missing_bounds(versions: Mapping[str, str], python: str) -> list[Bound]:
    """The bounds that a resolution (canonical name → version) for `python` ("3.11") breaks."""
    minor = int(python.split(".")[1])
    return [one for one in _BOUNDS if one.python <= minor and _broken(one, versions)]


def _broken(bound: Bound, versions: Mapping[str, str]) -> bool:
    limit = Requirement(bound.limit)
    version, companion = versions.get(bound.package), versions.get(limit.name)
    if version is None or companion is None:
        return False
    return Version(version) < Version(bound.below) and not limit.specifier.contains(companion, prereleases=True)
