"""For all tests: no property test has a deadline, since no test of ours asserts how long something takes."""

from hypothesis import HealthCheck, settings

settings.register_profile("bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bench")
