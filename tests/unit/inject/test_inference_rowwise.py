"""Which estimators may score the rows of several requests together."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from smalt.agent.inject.rowwise import is_rowwise, without_names

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
TARGET = (FRAME.a > 0).astype(int)


class Own(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X - X.mean()


def centred(X):
    return X - X.mean()


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LogisticRegression(), True),
        (make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=3)), True),
        (make_pipeline(FunctionTransformer(np.abs), LogisticRegression()), True),
        (make_pipeline(FunctionTransformer(centred), LogisticRegression()), False),
        (make_pipeline(FunctionTransformer(lambda X: X - X.mean()), LogisticRegression()), False),
        (make_pipeline(Own(), LogisticRegression()), False),
        (make_pipeline(ColumnTransformer([("o", Own(), ["a"])]), LogisticRegression()), False),
        (VotingClassifier([("p", make_pipeline(Own(), LogisticRegression()))]), False),
        (GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2), True),
    ],
)
def test_rows_are_independent_only_where_every_part_is_known(estimator: BaseEstimator, expected: bool) -> None:
    assert is_rowwise(estimator.fit(FRAME, TARGET)) is expected  # type: ignore[attr-defined]


def test_the_copy_without_names_takes_arrays_in_silence_and_leaves_the_original_alone() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, TARGET)
    plain = without_names(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (plain.predict_proba(FRAME.to_numpy()) == model.predict_proba(FRAME)).all()
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert plain.steps[1][1].coef_ is model.steps[1][1].coef_


def test_the_copy_is_not_asked_with_each_call_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, TARGET)
    plain, expected = without_names(model), model.predict_proba(FRAME)

    def asked(self: BaseEstimator) -> None:
        raise AssertionError("its tags were asked for")

    for kind in (StandardScaler, LogisticRegression):
        monkeypatch.setattr(kind, "__sklearn_tags__", asked)
    assert (plain.predict_proba(FRAME.to_numpy()) == expected).all()
    with pytest.raises(AssertionError, match="asked for"):
        model.predict_proba(FRAME)


def test_no_copy_for_steps_that_are_not_sklearns_or_make_frames() -> None:
    assert without_names(Pipeline([("own", Own()), ("m", LogisticRegression())]).fit(FRAME, TARGET)) is None
    scaler = StandardScaler().set_output(transform="pandas")
    assert without_names(make_pipeline(scaler, LogisticRegression()).fit(FRAME, TARGET)) is None
