"What holds for every test."
import os

import pytest

CAN_ASK = hasattr(os, 'sched_getscheduler')       # Linux


@pytest.fixture(autouse=True)
def scheduled_as_before():
    """No test leaves the process with another scheduling than it found.

    SVT-AV1 makes whatever thread encodes with it a real-time one, where it may; what that starts starves all others."""
    before = os.sched_getscheduler(0) if CAN_ASK else None
    yield
    after = os.sched_getscheduler(0) if CAN_ASK else None
    if after != before: os.sched_setscheduler(0, before, os.sched_param(0))
    assert after == before, f'the process is scheduled by policy {after}, it was {before}'
