"""What a pipeline adds: seconds a step of a chain of `true`, and how full nodes are under many steps that sleep.

    python bench/pipelines.py [--chain 50] [--wide 200] [--nodes 4] [--without-peers] [--json]

Chains run twice: the second reuses every step. The platform is made by `smalt up` with its isolation as it comes.
First the peers run the same chain: Metaflow's local runner, a process for each step as here, and Prefect, whose tasks are
functions in the flow's process. Each is installed by uv before anything begins.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import peers

import live

PORTS = {"before": {"type": "uri_folder", "optional": True}, "number": {"type": "integer", "default": "0"}}


@dataclass(frozen=True)
class Figures:
    chain_steps: int
    chain_s_a_step: float
    admission_s: float  # of the chain's PUT
    reused_s_a_step: float
    wide_steps: int
    wide_s: float
    nodes_used: float  # a share: 1 where no node ever waits
    load: float
    metaflow_s_a_step: float = 0.0
    prefect_s_a_step: float = 0.0
    metaflow_ratio: float = 0.0  # how many times as long as here


def component(platform: live.Live, name: str, command: str) -> str:
    spec = {
        "type": "command",
        "command": command,
        "environment": "azureml:bare:1",
        "inputs": PORTS,
        "outputs": {"made": {"type": "uri_folder"}},
        "is_deterministic": True,
    }
    platform.put(f"/components/{name}/versions/1", {"componentSpec": spec})
    return f"azureml:{name}:1"


def step(component: str, number: int, before: str = "") -> dict[str, Any]:
    inputs = {"number": {"value": str(number), "job_input_type": "literal"}}
    if before:
        inputs["before"] = {"value": f"${{{{parent.jobs.{before}.outputs.made}}}}", "job_input_type": "literal"}
    return {"type": "command", "componentId": component, "inputs": inputs}


def run(platform: live.Live, name: str, jobs: dict[str, Any]) -> tuple[float, float]:
    """Seconds until its PUT was answered, and from then until it had completed."""
    begun = time.perf_counter()
    properties = {"jobType": "Pipeline", "jobs": jobs, "settings": {"default_compute": "four"}}
    platform.put(f"/jobs/{name}", properties)
    taken = time.perf_counter()
    platform.completed(name)
    return taken - begun, time.perf_counter() - taken


def measure(root: Path, chain: int, wide: int, nodes: int) -> Figures:
    with live.started(root) as platform:
        platform.warm()
        platform.put("/environments/bare/versions/1", {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"})
        scale = {"maxNodeCount": nodes, "minNodeCount": nodes}
        machine = {"vmSize": "STANDARD_DS1_V2", "scaleSettings": scale}
        platform.put("/computes/four", {"computeType": "AmlCompute", "properties": machine})
        platform.submit("first", "true", environmentId="azureml:bare:1", computeId="four")
        platform.completed("first")
        quick = component(platform, "quick", "echo ${{inputs.number}} > ${{outputs.made}}/n")
        sleep = component(platform, "sleep", "sleep 1; true $[[${{inputs.number}}]]")
        links = {f"s{n}": step(quick, n, f"s{n - 1}" if n else "") for n in range(chain)}
        admission_s, chain_s = run(platform, "chain", links)
        _, reused_s = run(platform, "again", links)
        _, wide_s = run(platform, "wide", {f"s{n}": step(sleep, n) for n in range(wide)})
    return Figures(
        chain,
        round(chain_s / chain, 3),
        round(admission_s, 2),
        round(reused_s / chain, 3),
        wide,
        round(wide_s, 1),
        round(wide / nodes / wide_s, 2),
        live.load(),
    )


def beside(chain: int) -> tuple[float, float]:
    """Seconds a step of Metaflow and of Prefect."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        return peers.metaflow(Path(one), chain), peers.prefect(Path(other), chain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", type=int, default=50)
    parser.add_argument("--wide", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    metaflow, prefect = (0.0, 0.0) if asked.without_peers else beside(asked.chain)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "root", asked.chain, asked.wide, asked.nodes)
    ratio = round(metaflow / found.chain_s_a_step, 1)
    found = replace(
        found, metaflow_s_a_step=round(metaflow, 3), prefect_s_a_step=round(prefect, 3), metaflow_ratio=ratio
    )
    print(json.dumps(asdict(found)) if asked.json else "\n".join(f"{k:16} {v}" for k, v in asdict(found).items()))


if __name__ == "__main__":
    main()
