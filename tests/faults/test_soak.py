"""The soak, for a short while: faults of all kinds, and steady traffic that sees none of them."""

import pytest
from faults.soak import soak


@pytest.mark.slow
def test_a_short_soak(tmp_path):
    soaked = soak(tmp_path, seconds=10.0, seed=1)
    print(soaked)
    print(*soaked.failed[:20], *soaked.drained, *soaked.unexpected[:20], sep="\n")
    soaked.check()
