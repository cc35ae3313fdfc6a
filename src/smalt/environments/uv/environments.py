"""`Environments` with virtual environments that uv builds: the server's side. It plans and looks, but never builds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from smalt.agent.wire import Limits, Ref, TaskSpec
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ports import BuiltEnvironment, EnvironmentPlan, EnvironmentSpec, Login
from smalt.environments.uv.conda import CondaFile, collected, parse_conda
from smalt.environments.uv.curated import Curated, find_curated, load_curated, unknown
from smalt.environments.uv.feeds import LOGINS, matched
from smalt.environments.uv.images import Image, read_image
from smalt.environments.uv.interpreters import Choice, Interpreter, choose, find_interpreters
from smalt.environments.uv.layout import BUILDER, VARIABLE, Layout, read_json
from smalt.environments.uv.locks import versions
from smalt.environments.uv.packs import platform_of
from smalt.environments.uv.requirements import PipList, parse_pip
from smalt.settings import PLATFORM_ACCOUNT, Settings

_TIMEOUT_S = 2 * 3600
_GRACE_S = 10
_LOGS = Ref(PLATFORM_ACCOUNT, "environments", "")
_PASSED_PREFIXES = ("UV_", "PIP_")
_PASSED = (
    "HOME PATH LANG LC_ALL TMPDIR NETRC XDG_CONFIG_HOME XDG_CONFIG_DIRS SSL_CERT_FILE SSL_CERT_DIR SSL_CLIENT_CERT"
    " REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY GIT_SSH_COMMAND SSH_AUTH_SOCK"
)
_CONDA_SEEDS = ("pip", "setuptools<81", "wheel")  # conda's Python brings them; setuptools 81 lost pkg_resources
_IMAGE_SEEDS = ("pip",)


class UvEnvironments:
    """One root's environments. `variables` are those of the machine, with its index and proxy configuration.

    `server` is this one's id where several have one store: each builds for itself, and has logs of its own.
    """

    def __init__(self, settings: Settings, variables: Mapping[str, str] | None = None, server: str = "") -> None:
        self._layout = Layout(settings.envs)
        self._logs = _LOGS.below(f"{server}/") if server else _LOGS
        self._variables = dict(os.environ if variables is None else variables)

    def plan(self, spec: EnvironmentSpec, serving: bool = False) -> EnvironmentPlan:
        if spec.build_context:
            raise _needs_engine("A Docker build context")
        curated = self._curated(spec)
        image = read_image(spec.image) if spec.image else Image(ground=True)
        text = curated.conda_file if curated else spec.conda_file
        if not curated:
            _check_image(spec, image)
        conda = parse_conda(text) if text else CondaFile()
        pip = parse_pip(spec.pip_requirements.splitlines(), "pipRequirements")
        if pip.errors:
            raise collected(pip.errors)
        hint = f"=={image.python}.*" if image.python and not curated else ""
        choice = choose(self._interpreters, conda.python or hint, f"3.{sys.version_info.minor}")
        asked = _asked(conda, pip, _CONDA_SEEDS if text or spec.pip_requirements else _IMAGE_SEEDS)
        if feeds := matched(asked["options"], spec.feeds):
            asked["feeds"] = feeds  # part of the key: who has no credentials gets nothing that was built with them
        return self._planned(spec, choice, conda, asked, conda.python or hint, serving)

    def here(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """What another machine planned, with this one's interpreter. Raises ArmError(400) where it has none."""
        version = str(definition.get("python"))
        found = next((one for one in self._interpreters if one.version == version), None)
        if found is None:
            raise invalid(f"The environment needs Python {version}, which this node does not have.", "environmentId")
        return {**definition, "interpreter": str(found.path)}

    def built(self, key: str) -> BuiltEnvironment | None:
        marker = read_json(self._layout.marker(key))
        if marker is None or not (self.prefix(key) / "bin" / "python").exists():
            return None
        return BuiltEnvironment(key, tuple(marker.get("notes", ())))

    def prefix(self, key: str) -> Path:
        """Where the environment is, or will be, on this machine: `prefix/bin/python`."""
        return self._layout.prefix(key)

    def remove(self, key: str) -> None:
        prefix = self._layout.prefix(key)
        grave = prefix.with_name(f".{key}.removed")
        shutil.rmtree(grave, ignore_errors=True)  # of a removal that was killed
        with contextlib.suppress(FileNotFoundError):
            prefix.rename(grave)  # at once as a whole: nobody finds half of it
        shutil.rmtree(grave, ignore_errors=True)

    def task(
        self, plan: EnvironmentPlan, owner: str, attempt: int, logins: Mapping[str, Login] | None = None
    ) -> TaskSpec:
        variables = {name: value for name, value in self._variables.items() if _passed(name)}
        variables[VARIABLE] = json.dumps(dict(plan.definition))
        if logins:
            variables[LOGINS] = json.dumps(dict(logins))
        return TaskSpec(
            name=f"build-{plan.key[:16]}-a{attempt}",
            owner=owner,
            fence=attempt,
            argv=[sys.executable, "-m", "smalt.environments.uv.build", str(self._layout.envs), plan.key],
            variables=variables,
            log=self.log(plan.key),
            system_log=self._logs.below(f"{plan.key}.system.log"),
            timeout_s=_TIMEOUT_S,
            grace_s=_GRACE_S,
        )

    def compiling(self, key: str, owner: str, attempt: int) -> TaskSpec:
        """By the interpreter that the environment is of, and without `site`: nothing that lies in it is run."""
        prefix, marker = self.prefix(key), read_json(self._layout.marker(key)) or {}
        python = [str(marker.get("interpreter") or sys.executable), "-I", "-S"]
        compile_all = [*python, "-m", "compileall", "-q", "-j", "1", str(prefix / "lib")]
        return TaskSpec(
            name=f"compile-{key[:16]}-a{attempt}",
            owner=owner,
            argv=["nice", "-n", "15", *compile_all],
            log=self._logs.below(f"{key}.compile.txt"),
            limits=Limits(cpu_weight=10),
        )

    def packing(self, key: str, owner: str) -> TaskSpec:
        """The task that packs what was built (`packs.py`); it ends well where there is something to `packed`."""
        return TaskSpec(
            name=f"pack-{key[:16]}-a1",
            owner=owner,
            argv=["nice", "-n", "15", sys.executable, "-m", "smalt.environments.uv.packs", str(self._layout.envs), key],
            variables={name: value for name, value in self._variables.items() if name in ("PATH", "LANG", "LC_ALL")},
            limits=Limits(cpu_weight=10),
        )

    def packed(self, key: str) -> Path:
        """Where what was built here is, once it is packed."""
        return self._layout.packed(key)

    def fetched(self, key: str) -> Path:
        """Where the build looks for what another machine has packed."""
        return self._layout.fetched(key)

    def came_packed(self, key: str) -> bool:
        return bool((read_json(self._layout.marker(key)) or {}).get("fetched"))

    def platform(self, definition: Mapping[str, Any]) -> str:
        """What the files of this environment depend on besides its definition. Raises ArmError(400), OSError."""
        return platform_of(str(self.here(definition)["interpreter"]))

    def built_for(self, key: str) -> str:
        """The same of what was built. Raises OSError."""
        marker = read_json(self._layout.marker(key)) or {}
        return platform_of(str(marker.get("interpreter")))

    def log(self, key: str) -> Ref:
        return self._logs.below(f"{key}.log")

    def lock(self, key: str) -> Mapping[str, str] | None:
        try:
            return versions(self._layout.lock(key).read_text())
        except (OSError, ValueError):
            return None

    def failure(self, key: str) -> str:
        found = read_json(self._layout.failure(key))
        if found and found.get("cause"):
            return str(found["cause"])
        return "The build ended before it could say why: it was killed, or the machine ran out of memory or disk."

    def curated(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: one.properties() for one in self._definitions for name in one.names}

    @cached_property
    def _definitions(self) -> tuple[Curated, ...]:
        return load_curated()

    @cached_property
    def _interpreters(self) -> tuple[Interpreter, ...]:
        return find_interpreters(self._variables)

    @cached_property
    def _serving(self) -> list[str]:
        text = resources.files("smalt.environments.uv").joinpath("serving.txt").read_text()
        return sorted(parse_pip(text.splitlines(), "serving.txt").requirements)

    def _curated(self, spec: EnvironmentSpec) -> Curated | None:
        """The definition to use, where the specification names one and says nothing better itself."""
        if spec.conda_file or (spec.pip_requirements and spec.image):
            return None
        if spec.curated:
            found = find_curated(self._definitions, spec.curated)
            if not found:
                raise unknown(self._definitions, spec.curated)
            return found
        name = read_image(spec.image).curated if spec.image else ""
        return find_curated(self._definitions, name) if name else None

    def _planned(
        self, spec: EnvironmentSpec, choice: Choice, conda: CondaFile, asked: dict[str, Any], python: str, serving: bool
    ) -> EnvironmentPlan:
        content = {"builder": BUILDER, "python": choice.interpreter.version, "exact": choice.exact, **asked}
        plain = _digest(content)
        with_server = self._serving if serving else []
        notes = list(conda.notes)
        if not choice.exact:
            notes.insert(
                0,
                f"Python {_readable(python)} was asked for; the nearest that this machine has is"
                f" {choice.interpreter.version}.",
            )
        title = spec.name or spec.curated or spec.image or "environment"
        packages = len(asked["conda"]) + len(asked["pip"])
        definition = {
            **content,
            "serving": with_server,
            "plain_key": plain,
            "interpreter": str(choice.interpreter.path),
            "title": title,
            "image": spec.image,
            "notes": notes,
        }
        key = _digest({**content, "serving": with_server}) if with_server else plain
        summary = f"{title}: Python {choice.interpreter.version}, {packages} packages asked for"
        summary += ", with the inference server" if with_server else ""
        return EnvironmentPlan(key, definition, summary, conda.variables)


def _check_image(spec: EnvironmentSpec, image: Image) -> None:
    has_packages = bool(spec.conda_file or spec.pip_requirements)
    if not spec.image:
        if not has_packages:
            raise invalid(f"The environment '{spec.name}' names neither an image nor a conda_file.", "environmentId")
        return
    if (has_packages and image.ground) or image.plain:
        return
    if image.curated and not has_packages:
        raise _needs_engine(f"Image '{spec.image}', which is not one of the curated environments that are shipped,")
    raise _needs_engine(f"Image '{spec.image}'")


def _needs_engine(what: str) -> ArmError:
    return invalid(
        f"{what} needs a container engine (Docker or Podman), which this platform does not use yet;"
        " give a conda_file on one of the plain Python bases,"
        " for example mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04.",
        "image",
    )


def _asked(conda: CondaFile, pip: PipList, seeds: Sequence[str]) -> dict[str, Any]:
    """The normal form of what is asked for. pip comes after conda, so its word for a package replaces conda's."""
    listed = sorted({*conda.pip.requirements, *pip.requirements})
    pinned = {name for text in listed if (name := _name(text, only_bounded=True))}
    packages = sorted({one for one in conda.packages if _name(one) not in pinned})
    bounded = {_name(one, only_bounded=True) for one in (*listed, *packages)}
    return {
        "conda": packages,
        "pip": listed,
        "options": [*conda.pip.options, *pip.options],
        "seeds": [one for one in seeds if _name(one) not in bounded],
    }


def _name(text: str, only_bounded: bool = False) -> str:
    """The canonical name of a requirement; "" for an address, and for one without version where those are not meant."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return ""
    if only_bounded and not (requirement.specifier or requirement.url):
        return ""
    return canonicalize_name(requirement.name)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def _passed(name: str) -> bool:
    return name.startswith(_PASSED_PREFIXES) or name.upper() in _PASSED.split()


def _readable(specifier: str) -> str:
    """`==3.7.9.*` as people write it: `3.7.9`."""
    return ", ".join(one.removeprefix("==").removesuffix(".*") for one in specifier.split(","))
