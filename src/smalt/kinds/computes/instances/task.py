"""What runs for an instance: its setup scripts, then JupyterLab in their place, with the owner's identity and files.

All instances of a workspace share its working directory, as on Azure (`code-…`, each person's files in `Users/NAME`).
Their HOME is each instance's own: what lies there (settings, packages, kernels) runs as the owner, so no job sees it.
Both are folders of the store, and stay when the task ends.
"""

from __future__ import annotations

import json

from smalt.agent.service_spec import ServiceSpec
from smalt.agent.wire import InputSpec, Ref, TaskSpec
from smalt.arm import instances
from smalt.arm.cloud import metadata
from smalt.arm.ids import ResourceId
from smalt.arm.instances import LAB, TOKEN
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.kinds.assets.datastore import work_share
from smalt.kinds.computes.instances import kernels, mounts
from smalt.kinds.computes.instances.settings import CREATION, STARTUP, folder_of, own_services, script
from smalt.sched.sizes import SIZES, limits_of
from smalt.settings import CLOUD, PLATFORM_ACCOUNT, REGION
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

CREATION_FAILED, STARTUP_FAILED = 91, 92  # exit codes, as below
_HEADER_S = 365 * 86400.0  # it opens nothing once the task has ended
_LOGS_KEPT = 3
# `rfc3987_syntax` makes a parser of a grammar when it is imported, which takes as long as all else of the start.
# Where it is missing, jsonschema does not look at addresses with letters beyond ASCII, of which JupyterLab has none.
# What is set for these lines alone is taken out of what JupyterLab, and so all kernels and terminals, have.
_RUN = """
export HOME="${{inputs.home}}" SMALT_CODE="${{inputs.code}}" PROMPT_DIRTRIM=2
folder="$SMALT_CODE/Users/$SMALT_FOLDER"
mkdir -p "$folder" "$HOME/cloudfiles" || exit
ln -sfn "$SMALT_CODE" "$HOME/cloudfiles/code"
#mounts
# Others write to the shared folder: no link of theirs is followed.
configure() (
  set -C
  cd -P "$1" || exit
  there="$PWD/.azureml" fresh=".config.$$.$RANDOM"
  mkdir .azureml 2> /dev/null
  cd -P .azureml && [ "$PWD" = "$there" ] && printf '%s\\n' "$SMALT_CONFIG" > "$fresh" && mv -fT "$fresh" config.json
)
for one in "$SMALT_CODE" "$HOME"; do
  configure "$one" || echo "$one/.azureml is no folder of its own: it has no config.json of this workspace." >&2
done
cd "$folder" || exit
run() {
  [ -n "$2" ] || return 0
  echo "The $1 script runs for up to $3 s."
  timeout "$3" bash -c "$2" && return 0
  echo "The $1 script failed with exit code $?." >&2
  exit "$4"
}
[ -z "$SMALT_KERNELS" ] || echo "$SMALT_KERNELS" >&2
run creation "${SMALT_CREATION:-}" "${SMALT_CREATION_S:-0}" 91
run startup "${SMALT_STARTUP:-}" "${SMALT_STARTUP_S:-0}" 92
where="Users/$SMALT_FOLDER"
unset SMALT_CREATION SMALT_CREATION_S SMALT_STARTUP SMALT_STARTUP_S SMALT_CONFIG SMALT_FOLDER SMALT_KERNELS
SMALT_LAB='
import sys
sys.modules["rfc3987_syntax"] = None
from jupyterlab.labapp import main
sys.exit(main())
'
exec python -P -c "$SMALT_LAB" --no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port=0 --ServerApp.port_retries=0 \\
  --ServerApp.root_dir="$SMALT_CODE" --FileContentsManager.preferred_dir="$where" --ServerApp.quit_button=False \\
  --ServerApp.allow_remote_access=True --ServerApp.allow_root=True --ServerApp.password= \\
  --ServerApp.terminado_settings='{"shell_command": ["bash"]}' \\
  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None
"""


def _home(row: Row) -> Ref:
    return _kept(row).below("home/")


def log_of(row: Row, attempt: int) -> Ref:
    return _kept(row).below(f"logs/{attempt}.txt")


def system_log_of(row: Row, attempt: int) -> Ref:
    return _kept(row).below(f"logs/{attempt}-system.txt")


def _kept(row: Row) -> Ref:
    """What goes with the instance."""
    return Ref(PLATFORM_ACCOUNT, "computes", f"{row.lookup}/")


def forget(platform: Platform, row: Row, attempt: int) -> None:
    """Logs of the attempt that is too long ago."""
    for log in (log_of(row, attempt - _LOGS_KEPT), system_log_of(row, attempt - _LOGS_KEPT)):
        platform.blobs.remove(*log)


def forget_all(platform: Platform, row: Row) -> None:
    """With the instance's own files; those in the working directory are the workspace's."""
    platform.blobs.remove(*_kept(row))


def working_directory(home: Row) -> Ref:
    """The folder that all instances of a workspace (its row) share."""
    return Ref(str(home.status.get("account", "")), work_share(str(home.status.get("workspaceId", ""))), "")


def task(platform: Platform, row: Row, attempt: int, token: str) -> TaskSpec:
    """`token`: what JupyterLab asks of who comes. Makes the folders that it names where they are missing."""
    workspace, machine = ResourceId.parse(row.written).workspace, part(row.properties, "properties")
    with platform.database.read() as connection:
        home = resources.get(connection, workspace.key)
    assert home is not None, "an instance outlived its workspace"
    code, own = working_directory(home), _home(row)
    platform.blobs.ensure_container(code.account, code.container)
    if not platform.blobs.exists(*own):
        platform.blobs.write(own.below(".smalt"), b"")  # then the folder is there
    size, plan = str(machine.get("vmSize") or ""), row.spec[OURS]["plan"]
    mounted, links, _ = mounts.inputs(platform, row)
    capacity, name = platform.engine.capacity(), instances.task_name(row, attempt)
    return TaskSpec(
        name=name,
        owner=row.id,
        fence=attempt,
        command=_RUN.replace("#mounts\n", links),
        environment=plan["key"],
        variables={**plan.get("variables", {}), **_variables(platform, row, home, name), TOKEN_VARIABLE: token},
        documents={platform.settings.metadata_url: metadata(platform.settings)},
        inputs=[
            *(InputSpec(label, "uri_folder", "rw_mount", source=to) for label, to in (("code", code), ("home", own))),
            *mounted,
        ],
        log=log_of(row, attempt),
        system_log=system_log_of(row, attempt),
        grace_s=10,
        limits=limits_of(size, capacity.memory_bytes, f"the size of compute '{row.name}'", 2 << 30),
        workspace=workspace.key,
        hostname=row.name,
        gpus=[] if capacity.gpus and size.lower() in SIZES and not SIZES[size.lower()].gpus else None,
        services=[
            ServiceSpec(LAB),
            *(ServiceSpec(label, port, [["bash", "-c", line]]) for label, line, port in own_services(machine)),
        ],
        kernels=kernels.specs(platform, row),
    )


TOKEN_VARIABLE = f"{TOKEN.upper()}_TOKEN"  # JupyterLab's own name for it


def _variables(platform: Platform, row: Row, home: Row, name: str) -> dict[str, str]:
    """Those of jobs that say where this is; scripts; and, where sign-on is wanted, the owner's identity."""
    settings, workspace, machine = (
        platform.settings,
        ResourceId.parse(row.written).workspace,
        part(row.properties, "properties"),
    )
    owner = instances.owner(row)
    config = {
        "subscription_id": workspace.subscription,
        "resource_group": workspace.group,
        "workspace_name": workspace.name,
    }
    found = {
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_WORKSPACE_ID": str(home.status.get("workspaceId", "")),
        "AZUREML_WORKSPACE_SCOPE": str(workspace),
        "AZUREML_SERVICE_ENDPOINT": settings.url,
        "AZUREML_REGION": REGION,
        "AZUREML_CURRENT_CLOUD": CLOUD,
        "ARM_CLOUD_METADATA_URL": settings.metadata_url,
        "AZURE_SUBSCRIPTION_ID": workspace.subscription,
        "MLFLOW_TRACKING_URI": f"azureml://{settings.host}:{settings.port}/mlflow/v1.0{workspace}",
        "CI_NAME": row.name,
        "SMALT_CONFIG": json.dumps(config),
        "SMALT_FOLDER": folder_of(owner.name),
        "SMALT_KERNELS": kernels.left_out(row),
    }
    for prefix, which, wanted in (
        ("SMALT_CREATION", CREATION, not row.status.get("created")),
        ("SMALT_STARTUP", STARTUP, True),
    ):
        line, limit_s = script(machine, which)
        if line and wanted:
            found |= {prefix: line, f"{prefix}_S": f"{limit_s:.0f}"}
    if machine.get("enableSSO") is not False:
        found["IDENTITY_ENDPOINT"] = f"{settings.url}/msi/token"
        found["IDENTITY_HEADER"] = platform.identity_headers.mint(owner, _HEADER_S, name)
    return found


def logs(platform: Platform, row: Row, lines: int) -> str:
    """What it said last; the build of its environment while that is all."""
    attempt = int(row.status.get("attempt") or 0)
    for log in (*(log_of(row, one) for one in (attempt, attempt - 1) if one > 0), _build_log(platform, row.spec)):
        end = platform.blobs.read(*log, min(512 * lines, 16 << 20), from_end=True)
        if end:
            return "\n".join(end.decode(errors="replace").splitlines()[-lines:])
    return "Nothing was said yet."


def _build_log(platform: Platform, spec: Document) -> Ref:
    return platform.environments.log(spec[OURS]["plan"]["key"])
