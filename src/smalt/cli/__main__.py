"""The program `smalt`, also `python -m smalt.cli`: commands are imported once the interpreter is as it should be."""

from __future__ import annotations

from importlib import import_module

from smalt.cli.shell import ignore_python_variables


def main() -> None:
    ignore_python_variables()
    import_module("smalt.cli.main").app(prog_name="smalt")


if __name__ == "__main__":
    main()
