"""A command's placeholders, replaced as text: `${{inputs.x}}`, `${{outputs.y}}` and the optional `$[[ … ]]`.

Pure. Quoting is the user's, as in Azure: a value with spaces is put in as it is.
https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_REFERENCE = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)


class UnknownReference(Exception):
    """A placeholder that names nothing this task has."""


def render(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """The command with every placeholder replaced. An input of a group is named `group.name`.

    `$[[ … ]]` is dropped as a whole where an input named inside it is not given. Raises UnknownReference.
    """

    def optional(match: re.Match[str]) -> str:
        inner = match[1]
        named = _REFERENCE.findall(inner)
        absent = any(one.startswith("inputs.") and _find(one, inputs, outputs) is None for one in named)
        return "" if absent else inner.strip()

    def value(match: re.Match[str]) -> str:
        found = _find(match[1], inputs, outputs)
        if found is None:
            raise UnknownReference(_explain(match[1], inputs, outputs))
        return found

    return _REFERENCE.sub(value, _OPTIONAL.sub(optional, command))


def _find(reference: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str | None:
    side, _, name = reference.partition(".")
    values = {"inputs": inputs, "outputs": outputs}.get(side, {})
    # `.path` is how older components ask for the path of a data input; the value is the path already.
    return values.get(name, values.get(name.removesuffix(".path")))


def _explain(reference: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    side, _, name = reference.partition(".")
    if side not in ("inputs", "outputs") or not name:
        return f"The command refers to '${{{{{reference}}}}}', which is neither an input nor an output of this job."
    known = ", ".join(sorted(inputs if side == "inputs" else outputs)) or "none"
    return f"The command refers to {side[:-1]} '{name}', which this job does not have (it has: {known})."
