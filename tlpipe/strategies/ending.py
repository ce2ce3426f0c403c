"""What a training ended with, as data that model.json keeps."""

from collections.abc import Sequence

from tlpipe.config import Spec


class Ending(Spec):
    """What was chosen at the end of a training, and what validation said of it."""

    soup: tuple[int, ...] | None = None
    """Epochs whose weights were averaged, in the order in which they were taken in; 0 = before the first one."""
    alpha: float | None = None
    """Share of the trained weights; the rest is the weights at the start."""
    tried: tuple[dict[str, float], ...] = ()
    """`alpha`, `loss` and `accuracy` on validation of each interpolation that was tried."""

    def describe(self) -> list[str]:
        """A line for people for each of what was done."""
        lines = []
        if self.soup is not None:
            lines.append(f"soup: mean of the weights after epoch{'s' * (len(self.soup) > 1)} {_listed(self.soup)}")
        if self.alpha is not None:
            lines.append(f"{self.alpha:.0%} of the way from the weights at the start to the trained ones (WiSE-FT)")
        return lines


def _listed(epochs: Sequence[int]) -> str:
    return ", ".join(map(str, epochs))
