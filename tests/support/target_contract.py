"""The contract suite that every target passes against its real engine.

class TestParquet(TargetContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine: ...
"""

from __future__ import annotations

from tests.support.targets.histories import Histories
from tests.support.targets.kills import Kills
from tests.support.targets.refusals import Refusals
from tests.support.targets.values import Values


class TargetContract(Histories, Values, Kills, Refusals):
    """Everything that is asked of a target: the fixture `engine` gives an Engine with room of its own for one test."""
