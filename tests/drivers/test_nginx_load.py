"""What is said of a load."""

import pytest

from bpfbench.drivers import nginx_load


@pytest.mark.parametrize(
    ("server", "others", "said"),
    [
        ({1}, {0}, "server on CPU 1, client and tracer on CPU 0, of which each took from the other"),
        ({3}, {0, 1, 2}, "server on CPU 3, client and tracer on CPUs 0, 1, 2"),
        ({0}, {0}, "server, client and tracer shared CPU 0, so that each slowed the others"),
    ],
)
def test_where_everybody_ran_and_what_that_means(server, others, said):
    assert nginx_load.placement(frozenset(server), frozenset(others)) == said
