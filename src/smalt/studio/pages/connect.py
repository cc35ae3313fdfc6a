"""What another program needs to work here: config.json, the certificate authority, lines for a shell and for Python."""

from __future__ import annotations

import json
import shlex

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from smalt.settings import CLOUD
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get
from smalt.studio.visit import Visit


async def show(visit: Visit) -> Response:
    """Raises Refused for a workspace that is not there."""
    workspace = await visit.api.get(str(visit.workspace))
    tracking = str(workspace["properties"]["mlFlowTrackingUri"]).replace("azureml:", "https:")  # no plugin is needed
    return page("connect.html", visit, texts=_texts(visit, tracking))


async def config(visit: Visit) -> Response:
    return Response(
        _config(visit),
        headers={**HEADERS, "Content-Disposition": 'attachment; filename="config.json"'},
        media_type="application/json",
    )


async def authority(visit: Visit) -> Response:
    """The public part: it says whom to trust, and opens nothing."""
    path = visit.settings.tls / "ca.pem"
    if not await run_in_threadpool(path.is_file):
        raise Refused(404, "NotFound", "This platform has no authority of its own.")
    return FileResponse(path, headers=HEADERS, filename="ca.pem", media_type="application/x-pem-file")


def _config(visit: Visit) -> str:
    here = visit.workspace
    values = {"subscription_id": here.subscription, "resource_group": here.group, "workspace_name": here.name}
    return json.dumps(values, indent=2) + "\n"


def _texts(visit: Visit, tracking: str) -> list[tuple[str, str, str, str]]:
    """Id, title, what it is for, and the text, in the order in which one does it; each runs as it is copied."""
    here, settings = visit.workspace, visit.settings
    root = f"--root {shlex.quote(str(settings.root))}"
    python = (
        "from azure.ai.ml import MLClient\n"
        "from azure.identity import DefaultAzureCredential\n\n"
        "ml_client = MLClient(\n    DefaultAzureCredential(),\n"
        f'    "{here.subscription}",\n    "{here.group}",\n    "{here.name}",\n)\n'
        "for job in ml_client.jobs.list():\n    print(job.name, job.status)\n"
    )
    elsewhere = (
        f"export ARM_CLOUD_METADATA_URL={settings.metadata_url}\n"
        f"export AZUREML_CURRENT_CLOUD={CLOUD} AZURE_CLOUD_NAME={CLOUD}\n"
        f"export AZURE_AUTHORITY_HOST={settings.url}/adfs\n"
        f"export AZURE_EXTENSION_INDEX_URL={settings.url}/extensions/index.json\n"
        f"export REGISTRY_DISCOVERY_ENDPOINT_URL={settings.url}/\n"
        'cat ca.pem "$(python3 -m certifi)" > bundle.pem   # ca.pem: above\n'
        'export REQUESTS_CA_BUNDLE="$PWD/bundle.pem" SSL_CERT_FILE="$PWD/bundle.pem" CURL_CA_BUNDLE="$PWD/bundle.pem"\n'
        f"# then the lines that the platform's machine prints for: smalt sp create NAME {root}"
    )
    az = (
        'if [ -z "$AZURE_CLIENT_ID" ]; then az login --identity   # on the platform\'s machine\n'
        'else az login --service-principal -u "$AZURE_CLIENT_ID" '
        '-p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID"; fi\n'
        "az extension add --name ml\n"
        f"az configure --defaults group={here.group} workspace={here.name}\n"
        "az ml job list"
    )
    mlflow = (
        "import os\n\nimport mlflow\nfrom azure.identity import DefaultAzureCredential\n\n"
        f'token = DefaultAzureCredential().get_token("{settings.url}/.default").token\n'
        'os.environ["MLFLOW_TRACKING_TOKEN"] = token   # for an hour; jobs and instances have their own\n'
        f'mlflow.set_tracking_uri("{tracking}")\n'
        'with mlflow.start_run():\n    mlflow.log_metric("loss", 0.1)\n'
    )
    return [
        (
            "here",
            "On the platform's machine",
            "The variables that turn unmodified clients to this platform.",
            f'eval "$(smalt env {root})"',
        ),
        (
            "elsewhere",
            "On another machine",
            "The same, with a service principal; the platform's machine prints its id and secret.",
            elsewhere,
        ),
        ("python", "Python", "With the variables set, as against Azure.", python),
        ("az", "az", "Once for each folder of the CLI's configuration.", az),
        ("mlflow", "MLflow", "From anywhere, into this workspace.", mlflow),
    ]


ROUTES = (get("/connect", show), get("/connect/config.json", config), get("/connect/ca.pem", authority))
