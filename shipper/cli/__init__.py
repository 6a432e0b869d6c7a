"""The command line; `app` has the commands."""

from shipper.cli.app import main

__all__ = ["main"]
