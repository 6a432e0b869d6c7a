"""The real servers, for tests and benchmarks alike."""

pytest_plugins = ["shipper.devstack.fixtures"]
