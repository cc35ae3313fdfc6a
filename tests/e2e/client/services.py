"""Services of command jobs as the SDK asks for them and shows them: kept as they were given, with what became of each."""

import subprocess

from azure.ai.ml import command, load_job
from azure.ai.ml.entities import (
    Environment,
    JobService,
    JupyterLabJobService,
    SshJobService,
    TensorBoardJobService,
    VsCodeJobService,
)
from session import PLAIN_IMAGE, connect, ended, refused, scratch, step, unique, until

ml = connect()
plain = ml.environments.create_or_update(Environment(name=f"plain-{unique}", image=PLAIN_IMAGE))
environment = f"azureml:{plain.name}:{plain.version}"
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(scratch / "id")], check=True)
keys = (scratch / "id.pub").read_text()
serve = "python -m http.server --bind 127.0.0.1 {port}"


def run(text, **services):
    return ml.jobs.create_or_update(command(command=text, environment=environment, services=services))


with step("services of all types are kept as they were given, and each says how it is"):
    port = 20_000 + int(unique) % 9000
    job = run(
        serve.format(port=port),
        mine=JobService(type="custom", port=port),
        shell=SshJobService(ssh_public_keys=keys),
        board=TensorBoardJobService(log_dir="outputs/tblogs", nodes="all"),
        lab=JupyterLabJobService(),
        code=VsCodeJobService(),
    )

    def shown():
        found = ml.jobs.show_services(job.name)
        return found if found and found["mine"].status == "Running" else None

    found = until(shown, "the service", 120)
    assert found["mine"].port == port and found["mine"].error is None
    assert found["mine"].endpoint.startswith("https://mine-") and ".services.localhost:" in found["mine"].endpoint
    assert found["shell"].status == "Running" and found["shell"].properties["sshPublicKeys"] == keys
    for name, package in (("board", "tensorboard"), ("lab", "jupyterlab"), ("code", "code-server")):
        assert found[name].status == "Failed" and f"'{package}'" in found[name].error, (name, found[name].error)
    services = ml.jobs.get(job.name).services
    assert services["shell"].ssh_public_keys == keys and services["board"].log_dir == "outputs/tblogs"
    assert services["board"].nodes == "all" and services["mine"].port == port and services["mine"].status == "Running"
    assert services["mine"].endpoint == found["mine"].endpoint
    assert ml.jobs.show_services(job.name, 1) is None

with step("a service ends with its job"):
    ml.jobs.begin_cancel(job.name).result()
    ended(ml, job.name)
    assert ml.jobs.show_services(job.name)["mine"].status == "Stopped"

with step("what cannot be is refused when the job is submitted, with the field"):
    with refused("properties.services.mine.port"):
        run("true", mine=JobService(type="custom", port=70_000))
    with refused("services.lab.port"):
        run("true", alone=JobService(port=8080), lab=JupyterLabJobService(port=8080))
    with refused("properties.sshPublicKeys"):
        run("true", shell=SshJobService(ssh_public_keys="ssh-rsa x"))

with step("YAML names services in the same way, and leaves out the type of a custom one"):
    text = f"""
        command: {serve.format(port=port + 1)}
        environment: {environment}
        services:
          mine: {{type: custom, port: {port + 1}}}
          board: {{type: tensor_board, log_dir: outputs}}
        """
    (scratch / "job.yml").write_text(text)
    job = ml.jobs.create_or_update(load_job(scratch / "job.yml"))
    until(lambda: ml.jobs.show_services(job.name)["mine"].status == "Running", "the service", 120)
    ml.jobs.begin_cancel(job.name).result()

print("PASSED")
