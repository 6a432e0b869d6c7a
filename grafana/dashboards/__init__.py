"""The Grafana dashboards, written in Python; `python -m grafana.dashboards FOLDER` writes them as JSON.

Read `__main__.py` for which there are, `panels.py` for what a panel must have, `logql.py` for how lines are counted,
and `service.py` for what the dashboards of the five services share.
"""
