"""What a training ended with, as data that model.json keeps."""

from collections.abc import Sequence

from tlpipe.config import Spec


class Ending(Spec):
    """What was chosen at the end of a training, and what validation said of it."""

    epoch: int | None = None
    """The pass after which the weights were kept; 0 = the start, before the first one."""
    epochs: int | None = None
    """Passes that were done."""
    monitor: str | None = None
    """The validation figure that they were compared by; None = they were not, the last one was kept."""
    kept_start: bool = False
    """Whether the model is the one that the training began with, unchanged."""
    soup: tuple[int, ...] | None = None
    """Epochs whose weights were averaged, in the order in which they were taken in; 0 = before the first one."""
    alpha: float | None = None
    """Share of the trained weights; the rest is the weights at the start."""
    averaged: int = 0
    """Number of folds whose models' weights were averaged; 0 = none, the model was trained by itself."""
    tried: tuple[dict[str, float], ...] = ()
    """`alpha`, `loss` and `accuracy` on validation of each interpolation that was tried."""

    def describe(self) -> list[str]:
        """A line for people for each of what was done."""
        lines = []
        if self.kept_start:
            lines.append(self._why_the_start())
        elif self.epoch is not None and self.monitor is not None:
            lines.append(f"the best of {self.epochs} epochs by validation {_words(self.monitor)} is {self.epoch}")
        if self.soup is not None:
            lines.append(f"soup: mean of the weights after epoch{'s' * (len(self.soup) > 1)} {_listed(self.soup)}")
        if self.averaged:
            lines.append(f"mean of the weights of the models of {self.averaged} folds")
        if self.alpha is not None:
            lines.append(f"{self.alpha:.0%} of the way from the weights at the start to the trained ones (WiSE-FT)")
        return lines

    def tags(self) -> dict[str, str]:
        """What MLflow's runs are searched by."""
        return {"kept_start": "yes" if self.kept_start else "no"}

    def _why_the_start(self) -> str:
        if self.alpha == 0 and self.epoch:
            return "ended where it started: the interpolation (WiSE-FT) went all the way back, nothing of it is kept"
        if self.monitor is None:
            return "ended where it started: it was trained for no epoch"
        worse = f"all {self.epochs} epochs were worse by validation {_words(self.monitor)}"
        return f"ended where it started: {worse}, the model is the one that it began with"


def _words(monitor: str | None) -> str:
    return (monitor or "").replace("_", " ")


def _listed(epochs: Sequence[int]) -> str:
    return ", ".join(map(str, epochs))
