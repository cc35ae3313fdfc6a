"""The documents name everything that there is, and nothing that there is not: what has no section or row here fails."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

import pytest
import typer

import smalt.kinds
from fakes.settings import OTHER
from smalt import settings as settings_module
from smalt.agent.environ import PASSED_ON
from smalt.arm.kind import Kind
from smalt.arm.registry import Kinds
from smalt.cli.main import app
from smalt.cli.root import prepare, remember
from smalt.cli.variables import client_variables
from smalt.doctor.checks import CHECKS
from smalt.kinds.jobs.job import TYPES
from smalt.settings import Settings

ROOT = Path(__file__).parents[3]
DOCS = sorted((ROOT / "docs").glob("*.md"))
OWN = ("architecture", "kinds", "settings", "cli", "security")
KINDS = Kinds.scan(smalt.kinds)

_HEADING = re.compile(r"^(#+) +(.*)$", re.MULTILINE)
_PATH = re.compile(r"(?<![\w./-])(?:src|tests|scripts|bench|docs)/[\w./-]*[\w/]")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_MACHINE_PATH = re.compile(r"(?<![\w.:/~>}-])/(?:home|root|work|Users|tmp|var|mnt|srv|opt)/\w")
# Spelled so that this file does not hold the names that it looks for.
_REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|anaconda|conda-forge|crates|rubygems|golang|docker|ghcr|quay|gcr)\.(?:org|com|io|dev)\b"
    r"|https?://[^\s)]*/simple\b"
)


def heading(kind: Kind) -> str:
    """The type's path; with its provider, where another provider may have the same."""
    return f"`{kind.path if kind.key == kind.path.lower() else kind.qualified}`"


def text_of(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def prose(text: str) -> str:
    """Without code blocks, whose lines may begin with `#`."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(text: str) -> dict[str, str]:
    """What stands below each heading, up to the next one of the same or a higher level."""
    found = list(_HEADING.finditer(text))
    result: dict[str, str] = {}
    for at, heading in enumerate(found):
        after = (one.start() for one in found[at + 1 :] if len(one[1]) <= len(heading[1]))
        result[heading[2]] = text[heading.end() : next(after, len(text))]
    return result


def first_column(section: str) -> set[str]:
    """The names in the first cells of the tables of a section."""
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


def commands() -> Iterator[tuple[str, Any]]:
    """`smalt`, `smalt up`, …, with groups."""
    pending = [("smalt", typer.main.get_command(app))]
    while pending:
        name, command = pending.pop()
        yield name, command
        pending += [(f"{name} {word}", one) for word, one in getattr(command, "commands", {}).items()]


COMMANDS = dict(commands())


def test_there_are_documents() -> None:
    assert {path.stem for path in DOCS} >= set(OWN)
    assert len(COMMANDS) > 5 and len(KINDS) > 10


class TestKinds:
    headings = sections(text_of("kinds"))

    @pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.key)
    def test_every_kind_has_a_section_with_its_actions(self, kind: Kind) -> None:
        section = self.headings.get(heading(kind))
        assert section is not None and len(section) > 20, f"docs/kinds.md has no section on {kind.path}"
        missing = [name for name in kind.actions if f"`{name}`" not in section]
        assert not missing, f"docs/kinds.md does not say what {missing} of {kind.path} do"
        elsewhere = [name for name in kind.since if f"`{name}`" not in section]
        assert not elsewhere, f"docs/kinds.md does not mention {elsewhere} of {kind.path}"

    def test_every_job_type_has_a_section(self) -> None:
        for name in TYPES:
            assert f"Job type `{name}`" in self.headings, f"docs/kinds.md has no section on {name} jobs"

    def test_no_section_is_about_what_is_not_there(self) -> None:
        paths = {heading(kind) for kind in KINDS.values()}
        types = {f"Job type `{name}`" for name in TYPES}
        assert {one for one in self.headings if "`" in one} == paths | types


class TestSettings:
    text = text_of("settings")
    parts = sections(text)

    def test_fields(self) -> None:
        assert first_column(self.parts["Fields"]) == {one.name for one in fields(Settings)}

    def test_properties_and_methods(self) -> None:
        derived = {name for name, _ in getmembers(Settings, lambda one: isinstance(one, property) or isfunction(one))}
        assert first_column(self.parts["Derived"]) == {name for name in derived if not name.startswith("_")}

    def test_constants_with_their_values(self) -> None:
        constants = {name: value for name, value in vars(settings_module).items() if name.isupper()}
        rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)`", self.parts["Fixed names"], re.MULTILINE))
        assert rows == constants

    def test_configuration_keys(self, tmp_path: Path) -> None:
        settings = Settings(tmp_path / "root", **OTHER)
        prepare(settings)
        remember(settings)
        written = json.loads((settings.root / "config.json").read_text())
        assert first_column(self.parts["`config.json`"]) == set(written)

    def test_every_path_of_the_settings_is_among_the_files(self, tmp_path: Path) -> None:
        settings = Settings(tmp_path)
        files = self.parts["Files under the root"]
        for name, _ in getmembers(Settings, lambda one: isinstance(one, property)):
            value = getattr(settings, name)
            if isinstance(value, Path) and value.is_relative_to(tmp_path):
                shown = str(value.relative_to(tmp_path))
                assert f"`{shown}" in files or f"{shown}/" in files, f"docs/settings.md does not list {shown}"

    def test_variables(self, tmp_path: Path) -> None:
        wanted = {*client_variables(Settings(tmp_path), "secret"), *PASSED_ON}
        section = self.parts["Environment variables"]
        missing = sorted(name for name in wanted if f"`{name}`" not in section)
        assert not missing, f"docs/settings.md does not mention {missing}"


class TestCommandLine:
    headings = sections(text_of("cli"))

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_with_its_options(self, name: str) -> None:
        section = self.headings.get(f"`{name}`")
        assert section is not None, f"docs/cli.md has no section on {name}"
        for parameter in COMMANDS[name].params:
            is_option = parameter.param_type_name == "option"
            spellings = parameter.opts if is_option else [(parameter.name or "").upper()]
            for spelling in spellings:
                if spelling != "--help":
                    pattern = rf"`{re.escape(spelling)}[` ]"
                    assert re.search(pattern, section), f"docs/cli.md does not explain {spelling} of {name}"

    @pytest.mark.parametrize("name", [name for name, one in COMMANDS.items() if not hasattr(one, "commands")])
    def test_every_command_has_an_example(self, name: str) -> None:
        assert re.search(rf"^ {{4}}.*{name}\b", self.headings[f"`{name}`"], re.MULTILINE)

    def test_every_option_in_the_text_is_one_of_its_command(self) -> None:
        for name, command in COMMANDS.items():
            known = {spelling for one in command.params for spelling in one.opts} | {"--help"}
            explained = set(re.findall(r"^- `(--[a-z-]+)", self.headings[f"`{name}`"], re.MULTILINE))
            assert explained <= known, f"docs/cli.md: {name} has no {explained - known}"

    def test_no_section_is_about_what_is_not_there(self) -> None:
        assert {one for one in self.headings if "`" in one} == {f"`{name}`" for name in COMMANDS}

    def test_every_check_of_the_doctor(self) -> None:
        """In their order; what Smalt cannot run without is in bold."""
        rows = re.findall(r"^\| ([^|]*`[^|]*) \|", self.headings["`smalt doctor`"], re.MULTILINE)
        shown = [one for row in rows for one in row.split(", ")]
        assert shown == [f"**`{one.id}`**" if one.vital else f"`{one.id}`" for one in CHECKS]


def test_architecture_opens_with_where_to_start() -> None:
    lines = [line for line in text_of("architecture").splitlines()[1:] if line]
    assert lines[0] == "| topic | start here |"
    rows = lines[2 : next(at for at, line in enumerate(lines) if not line.startswith("|"))]
    assert len(rows) > 10
    for row in rows:
        places = re.findall(r"`([^`]*[/.][^`]*)`", row.split("|")[2])
        assert places, row
        for place in places:
            assert (ROOT / place).exists(), f"docs/architecture.md sends people to {place}, which is not there"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_paths_in_the_repository_exist(path: Path) -> None:
    named = set(_PATH.findall(path.read_text()))
    missing = sorted(one for one in named if not (ROOT / one).exists())
    assert not missing, f"docs/{path.name} names what is not there: {missing}"


@pytest.mark.parametrize("path", [*DOCS, ROOT / "README.md"], ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for link in (first or second for first, second in _LINK.findall(prose(path.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{path.name} links to {link}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path.name} links to {link}, and there is no such heading"


# What must not exist for a public example to be allowed to wait for it: kinds by path, or types of jobs.
WAITED_FOR = {
    "batch endpoints": "workspaces/batchendpoints",
    "schedules": "workspaces/schedules",
    "AutoML": "AutoML",
    "Spark": "Spark",
    "the environment mldesigner": "mldesigner",  # no kind or type: a curated environment
}


def test_no_public_example_waits_for_what_is_there() -> None:
    waiting = dict(re.findall(r"^\| (\S+) \| .*not yet: needs ([^|]+?) \|", text_of("compatibility"), re.MULTILINE))
    assert len(waiting) > 5
    there = {kind.key for kind in KINDS.values()} | set(TYPES)
    unknown = {needs for needs in waiting.values() if needs not in WAITED_FOR}
    assert not unknown, f"say in WAITED_FOR by what these would exist: {unknown}"
    wrong = sorted(path for path, needs in waiting.items() if WAITED_FOR[needs] in there)
    assert not wrong, f"docs/compatibility.md says that these wait for what exists; run them again: {wrong}"


def test_public_examples_are_counted_as_they_are_listed() -> None:
    text = text_of("compatibility")
    rows = Counter(re.findall(r"^\| \S+/\S+ \| [\w-]+ \| ([a-z ]+?)(?:: [^|]+)? \| [\d.]+ \|$", text, re.MULTILINE))
    told = re.search(r"^(\d+) rows: (.*)\.$", text, re.MULTILINE)
    assert told is not None and int(told[1]) == rows.total() == text.count("\n| ") - 1
    assert dict(part.split(" ", 1)[::-1] for part in told[2].split(", ")) == {
        key: str(one) for key, one in rows.items()
    }
    assert all(f"*{name}*" in text for name in rows), "each result is explained"


def anchors(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    return {
        re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        for _, title in _HEADING.findall(prose(path.read_text()))
    }


@pytest.mark.parametrize("path", [*DOCS, ROOT / "README.md"], ids=lambda path: path.stem)
def test_nothing_of_one_machine(path: Path) -> None:
    text = path.read_text()
    for pattern, what in ((_MACHINE_PATH, "a path of one machine"), (_REGISTRY, "the host of a package registry")):
        found = pattern.search(text)
        assert found is None, f"{path.name} holds {what}: {found[0] if found else ''}"


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("see /home/ada/smalt", True),
        ("`/tmp/x`", True),
        ("the folder <root>/tasks", False),
        ("https://example.org/work/item", False),
        ("~/.smalt/run/server.sock", False),
        ("from " + "pypi" + ".org", True),
        ("--index-url https://mirror.example/simple", True),
        ("a simple text about conda", False),
    ],
)
def test_what_counts_as_of_one_machine(text: str, bad: bool) -> None:
    assert bool(_MACHINE_PATH.search(text) or _REGISTRY.search(text)) is bad
