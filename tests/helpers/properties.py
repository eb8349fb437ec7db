"""How many examples the property tests try, and which.

By default each run tries others. In CI, where the environment has a variable CI, the examples are
the same every time, so a failure is one of the change and not of the day. TCPD_EXAMPLES multiplies
their number: `TCPD_EXAMPLES=20 pytest tests/integration/test_net_properties.py`.
"""

import os
import zlib

from hypothesis import HealthCheck, seed, settings

settings.register_profile(
    "tcpd", deadline=None, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "tcpd-ci", settings.get_profile("tcpd"), derandomize=True, database=None, print_blob=True
)
IN_CI = bool(os.environ.get("CI"))
PROFILE = settings.get_profile("tcpd-ci" if IN_CI else "tcpd")
FACTOR = float(os.environ.get("TCPD_EXAMPLES", "1"))


def examples(count):
    """The settings of a test that usually tries so many examples."""
    return settings(PROFILE, max_examples=max(1, round(count * FACTOR)))


def with_examples_of_its_own(test, variant):
    """A property test that is run in several variants; in CI each has other examples."""
    return seed(zlib.crc32(variant.encode()))(test) if IN_CI else test
