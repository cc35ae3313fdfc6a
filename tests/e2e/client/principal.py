"""A service principal instead of a managed identity: a client secret, and nothing else."""

import sys

from azure.ai.ml.entities import Data
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import EnvironmentCredential
from session import connect, scratch, unique

ml = connect(EnvironmentCredential())
if sys.argv[1:] == ["refused"]:
    try:
        ml.workspaces.get(ml.workspace_name)
    except ClientAuthenticationError:
        print("REFUSED")
    sys.exit()
text = scratch / "a.txt"
text.write_text("a")
made = ml.data.create_or_update(Data(name=f"principal-{unique}", path=str(text), type="uri_file"))
read = ml.data.get(made.name, version=made.version)
assert read.creation_context.created_by == "pipeline-runner", read.creation_context.created_by
print("PASSED")
