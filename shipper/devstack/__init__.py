"""The servers that the demo, the tests and the benchmarks need: fetched, built, started and stopped.

The engine never imports any of this.
"""
