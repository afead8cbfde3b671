"""What a guard says."""

from __future__ import annotations

from dataclasses import dataclass, field

PASSES, WARNS, FAILS, OPEN = "passes", "warns", "FAILS", "not known yet"


@dataclass
class Outcome:
    """What a guard found in a study's folder.

    Attributes:
        guard: Its id, such as G3.
        title: What it checks, in a few words.
        failures: Lines that name what and where; any makes the comparison unfair.
        warnings: Lines that a reader should know.
        open: What cannot be checked yet, since the study is not done.
        waived: Whether the study's file waives it.
    """

    guard: str
    title: str
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    waived: bool = False

    @property
    def level(self) -> str:
        """passes, warns, FAILS or "not known yet"."""
        if self.failures:
            return FAILS
        return WARNS if self.warnings else OPEN if self.open else PASSES

    @property
    def is_unfair(self) -> bool:
        """Whether it makes the comparison an unfair one."""
        return bool(self.failures) and not self.waived

    def fail(self, line: str) -> None:
        """Add a failure."""
        self.failures.append(line)

    def warn(self, line: str) -> None:
        """Add a warning."""
        self.warnings.append(line)

    def wait(self, line: str) -> None:
        """Add what cannot be checked yet."""
        self.open.append(line)
