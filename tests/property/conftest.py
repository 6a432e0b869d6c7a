"""How hard hypothesis tries: quickly by default, and with `HYPOTHESIS_PROFILE=thorough` for minutes.

By default it tries the same examples in every run, so that a run fails because of what was changed, not by chance.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", settings.get_profile("quick"), max_examples=1_000, derandomize=False, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
