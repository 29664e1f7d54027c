"""Random damage to the bytes of a file, for the tests that read damaged files."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzzed = settings(deadline=None, suppress_health_check=list(HealthCheck))

bites = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6)), min_size=1, max_size=4
)


def bitten(content: bytes, hits: list[tuple[float, int, bytes]]) -> bytes:
    """Each bite takes some bytes away at some place and leaves others."""
    spoilt = bytearray(content)
    for place, taken, left in hits:
        at = int(place * len(spoilt))
        spoilt[at : at + taken] = left
    return bytes(spoilt)
