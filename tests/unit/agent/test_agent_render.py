"""`smalt.agent.render`: placeholders in a command."""

from __future__ import annotations

import pytest

from smalt.agent.render import UnknownReference, render

INPUTS = {
    "data": "/in/data",
    "rate": "0.5",
    "group.size": "7",
    "text": "a b $HOME",
    "empty": "",
    "tricky": "${{inputs.rate}}",
}
OUTPUTS = {"model": "/out/model"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo hello", "echo hello"),
        ("x ${{inputs.data}}/a.csv", "x /in/data/a.csv"),
        ("x ${{ inputs.data }} ${{  outputs.model  }}", "x /in/data /out/model"),
        ("x ${{inputs.group.size}}", "x 7"),
        ("x ${{inputs.data.path}}", "x /in/data"),
        ("x '${{inputs.text}}'", "x 'a b $HOME'"),
        ("x ${{inputs.empty}}.", "x ."),
        ("x ${{inputs.tricky}}", "x ${{inputs.rate}}"),
        ("x $[[--rate ${{inputs.rate}}]] y", "x --rate 0.5 y"),
        ("x $[[ --a ${{inputs.absent}} ]] y", "x  y"),
        ("x $[[--a ${{inputs.rate}} ${{inputs.absent}}]]", "x "),
        ("x $[[--a ${{inputs.absent}}]] $[[--b ${{inputs.rate}}]]", "x  --b 0.5"),
        ("x $[[--flag]]", "x --flag"),
        (
            "if [[ $A == b ]]; then echo ${HOME} $(date) $((1+1)); fi",
            "if [[ $A == b ]]; then echo ${HOME} $(date) $((1+1)); fi",
        ),
        ("a\nb ${{inputs.rate}}\n", "a\nb 0.5\n"),
    ],
)
def test_render(command: str, expected: str) -> None:
    assert render(command, INPUTS, OUTPUTS) == expected


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("x ${{inputs.absent}}", "input 'absent', which this job does not have (it has: data, "),
        ("x ${{outputs.absent}}", "output 'absent', which this job does not have (it has: model)"),
        ("x $[[--o ${{outputs.absent}}]]", "output 'absent'"),
        ("x ${{parent.inputs.y}}", "'${{parent.inputs.y}}', which is neither an input nor an output"),
        ("x ${{inputs}}", "'${{inputs}}'"),
        ("x ${{}}", "'${{}}'"),
    ],
)
def test_an_unknown_reference_is_named(command: str, part: str) -> None:
    with pytest.raises(UnknownReference) as caught:
        render(command, INPUTS, OUTPUTS)
    assert part in str(caught.value)
