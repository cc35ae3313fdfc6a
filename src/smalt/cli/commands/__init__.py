"""One module for each command of `smalt`; `smalt.cli.main` imports the one that is used."""
