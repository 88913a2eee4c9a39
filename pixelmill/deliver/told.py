"""What there is to tell of a delivery, and of a check of one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Delivered(_Told):
    """A delivery: the rows that were `sent`, as they are new or have changed, and `deleted`, as they are gone; how many
    are `behind`, at most: neither sent nor deleted as they should be (None: nobody knows, the target did not answer).
    `rows` are in the target now, as of the snapshot of that `revision`; it was last equal to one at `equal_at`
    (ISO 8601; '': never). `is_anew`: a generation made anew has taken its place. `problem` is why it failed; '' if it
    did not. `to` is where it goes, without what lets in."""

    name: str
    to: str
    required: bool = False
    sent: NonNegativeInt = 0
    deleted: NonNegativeInt = 0
    behind: NonNegativeInt | None = None
    rows: NonNegativeInt = 0
    revision: NonNegativeInt = 0
    equal_at: str = ""
    is_anew: bool = False
    seconds: NonNegativeFloat = 0.0
    problem: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether the target is an exact mirror now."""
        return self.behind == 0 and not self.problem


class Checked(_Told):
    """A target beside a snapshot: `rows` that it should have, how many of them were `compared` value by value, and the
    `differences` that were found, in sentences; none, and it is an exact mirror as far as was looked."""

    name: str
    to: str
    rows: NonNegativeInt = 0
    compared: NonNegativeInt = 0
    differences: tuple[str, ...] = ()
    problem: str = ""
