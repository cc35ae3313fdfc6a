"""Where MLflow's tables are: a file of SQLite in the root, or a schema of their own in the platform's PostgreSQL."""

from __future__ import annotations

from sqlalchemy import URL, make_url

from smalt.settings import Settings

SCHEMA = "mlflow"


def tables_url(settings: Settings) -> URL:
    """With the password, if the settings have it."""
    if not settings.postgresql:
        return make_url(f"sqlite:///{settings.mlflow_database}")
    url = make_url(settings.database_url)
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    url = url.update_query_dict({"options": f"{options} -csearch_path={SCHEMA}".strip()})
    return url.set(drivername="postgresql+psycopg")


def apart(url: URL) -> tuple[URL, str]:
    """Without the password, and the password, which libpq also reads from the variable PGPASSWORD; '' for none."""
    query = dict(url.query)
    asked = query.pop("password", None)
    told = asked if isinstance(asked, str) else url.password
    return url._replace(password=None).set(query=query), told or ""
