"""pip's requirement lines, checked before anything is queued: what uv can take, what cannot be built here, and why."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from smalt.arm.errors import ArmError, invalid

# Options with a value that uv understands in a requirements file, by every spelling that pip has for them.
_VALUED = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
    "--no-binary": "--no-binary",
    "--only-binary": "--only-binary",
    "--trusted-host": "--trusted-host",
}
_FLAGS = {"--no-index", "--pre"}
_IGNORED = {"--prefer-binary", "--no-cache-dir", "--upgrade", "-U", "--quiet", "-q", "--no-deps-check", "--use-pep517"}
_FILES = {"-r", "--requirement", "-c", "--constraint", "-e", "--editable"}
_ADDRESS = re.compile(r"^(?:(?:git|hg|svn|bzr)\+[a-z+]+|https?)://", re.IGNORECASE)
_SHORT_WITH_VALUE = re.compile(r"^(-[ifrce])(?=[^-\s])(.+)$")


@dataclass
class PipList:
    """`requirements` are in normal form, or addresses as written; `options` are lines for a requirements file."""

    requirements: list[str] = field(default_factory=list[str])
    options: list[str] = field(default_factory=list[str])
    errors: list[ArmError] = field(default_factory=list[ArmError])


def parse_pip(lines: Iterable[str], target: str) -> PipList:
    """All of `lines`; what is wrong stands in `errors`, each naming its line and `target`, the field."""
    found = PipList()
    for line in _logical_lines(lines):
        _read(line, target, found)
    return found


def normal(requirement: Requirement) -> str:
    """One spelling for one meaning: canonical name, sorted extras and specifiers."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    name = canonicalize_name(requirement.name)
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    if requirement.url:
        return f"{name}{extras} @ {requirement.url}{marker}"
    return f"{name}{extras}{','.join(sorted(str(one) for one in requirement.specifier))}{marker}"


def _logical_lines(lines: Iterable[str]) -> Iterable[str]:
    text = "\n".join(lines).replace("\\\n", " ")
    for line in text.splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if bare:
            yield bare


def _read(line: str, target: str, found: PipList) -> None:
    if line.startswith("-"):
        _read_options(line, target, found)
        return
    if _ADDRESS.match(line):
        found.requirements.append(line)
        return
    requirement = re.split(r"\s--[a-z-]+[= ]", line, maxsplit=1)[0]  # pip's per-requirement options, such as --hash
    if re.match(r"^(\.{0,2}/|file:|[A-Za-z]:\\)", requirement) or requirement.endswith((".whl", ".tar.gz", ".zip")):
        found.errors.append(
            invalid(
                f"'{requirement}' in {target} is a file, which is not part of the environment; name a package.", target
            )
        )
        return
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        found.errors.append(invalid(f"'{line}' in {target} is not a pip requirement: {reason}.", target))
        return
    if parsed.url and not _ADDRESS.match(parsed.url):
        found.errors.append(
            invalid(f"'{line}' in {target}: only http(s) and version control addresses can be had.", target)
        )
        return
    found.requirements.append(normal(parsed))


def _read_options(line: str, target: str, found: PipList) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        found.errors.append(invalid(f"'{line}' in {target} cannot be read: {error}.", target))
        return
    while words:
        option, value = _split(words)
        if option in _FILES:
            found.errors.append(
                invalid(
                    f"'{option} {value}' in {target} refers to a file, which is not part of the environment;"
                    " list its packages instead.",
                    target,
                )
            )
        elif option in _VALUED and value:
            found.options.append(f"{_VALUED[option]} {value}")
        elif option in _FLAGS:
            found.options.append(option)
        elif option not in _IGNORED:
            found.errors.append(
                invalid(f"pip's option '{option}' in {target} is not known here; leave it out.", target)
            )


def _split(words: list[str]) -> tuple[str, str]:
    """Take one option, and its value where it has one, from the front of `words`."""
    option = words.pop(0)
    joined = _SHORT_WITH_VALUE.match(option)
    if joined:
        return joined.group(1), joined.group(2)
    if option.startswith("--") and "=" in option:
        name, _, value = option.partition("=")
        return name, value
    if option in _VALUED or option in _FILES:
        return option, words.pop(0) if words else ""
    return option, ""
