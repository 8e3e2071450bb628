"""Why the page gets no suggested region."""

from types import SimpleNamespace

import pytest

from hypercolumns.annotation.learning.suggestions import Readiness
from hypercolumns.annotation.serving.suggester import Suggester


@pytest.mark.parametrize(
    ("readiness", "reason"), [("NO_LABELS", "label some"), ("UNTRAINED", "is learning"), ("READY", "being compared")]
)
def test_the_reason_follows_from_the_model(readiness, reason):
    suggester = Suggester(SimpleNamespace(readiness=Readiness[readiness]), None, [0], lambda: None)
    assert suggester.suggestion["image"] is None
    assert reason in suggester.suggestion["reason"]


def test_no_old_region_after_the_last_erasure():
    suggester = Suggester(SimpleNamespace(readiness=Readiness.READY), None, [0], lambda: None)
    suggester.queue.set_region(1, {"image": 0})
    assert suggester.suggestion == {"image": 0}
    suggester._trainer.readiness = Readiness.NO_LABELS
    assert suggester.suggestion == {"image": None, "reason": "label some pixels first"}
