"""Trains a model that tells which customers will leave. Nothing in it knows where it runs."""

import argparse
from importlib.metadata import version

import mlflow
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--trees", type=int, default=60)
parser.add_argument("--learning_rate", type=float, default=0.1)
args = parser.parse_args()

customers = pd.read_csv(args.data)
print(f"{len(customers)} customers, {customers.churned.mean():.0%} of them left", flush=True)
features, target = customers.drop(columns="churned").astype(float), customers.churned
x_train, x_test, y_train, y_test = train_test_split(features, target, test_size=0.2, random_state=0, stratify=target)

with mlflow.start_run():
    mlflow.log_params({"trees": args.trees, "learning_rate": args.learning_rate})
    model = GradientBoostingClassifier(n_estimators=args.trees, learning_rate=args.learning_rate, random_state=0)
    model.fit(x_train, y_train)
    for trees, scores in enumerate(model.staged_predict_proba(x_test), start=1):
        if trees % 10 == 0 or trees == args.trees:
            auc = roc_auc_score(y_test, scores[:, 1])
            mlflow.log_metric("auc", auc, step=trees)
            print(f"{trees} trees: AUC {auc:.4f}", flush=True)
    signature = mlflow.models.infer_signature(x_train, model.predict(x_train))
    needs = [
        f"{name}=={version(name)}" for name in ("mlflow", "numpy", "pandas", "scikit-learn")
    ]  # else MLflow looks for them
    mlflow.sklearn.log_model(model, "churn_model", signature=signature, pip_requirements=needs)
print("the model is saved", flush=True)
