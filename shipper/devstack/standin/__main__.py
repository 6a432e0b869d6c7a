"""`python -m shipper.devstack.standin --port 3100`: the Loki stand-in, until it is told to stop."""

import argparse
import json
import sys

import uvicorn

from shipper.devstack.server import HOST
from shipper.devstack.standin.app import build_app
from shipper.devstack.standin.limits import Limits

_SHUTDOWN_S = 2


def main() -> int:
    """Serve; returns 2 for limits that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="shipper.devstack.standin", description="A stand-in for Grafana Loki, in memory."
    )
    parser.add_argument("--port", type=int, default=3100, help=f"port of {HOST} to listen on")
    parser.add_argument("--limits", default="{}", help="JSON object of keys of Loki's limits_config")
    parser.add_argument("--auth-enabled", action="store_true", help="require X-Scope-OrgID with every request")
    arguments = parser.parse_args()
    try:
        limits = Limits.from_loki(json.loads(arguments.limits))
    except ValueError as error:
        sys.stderr.write(f"--limits: {error}\n")
        return 2
    app = build_app(limits, auth_enabled=arguments.auth_enabled)
    uvicorn.run(
        app,
        host=HOST,
        port=arguments.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
