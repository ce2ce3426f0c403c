"""The written rule behind `auto`: rates, epochs and regularisation from the number of samples (docs/strategies.md)."""

import math
from typing import Literal

from tlpipe.config import Spec
from tlpipe.strategies.plan import L2SP

REFERENCE = 1000
"""Samples at which the base values hold, and that are assumed where the number is not known."""
BASE_BATCH = 32
BASE: dict[str, float] = {"head": 1e-3, "norms": 1e-3, "lora": 1e-3, "scratch": 1e-3, "all": 3e-4, "top": 3e-4}
"""Peak rate of the head with AdamW at a batch of 32, by what trains below it."""
NORMED = 7.07e-4
"""In place of `all` and `top`, for networks with batch norms: 5e-4 at a batch of 16."""
STEPS, FEWEST, MOST = 600, 3, 60
"""Steps that a fine-tuning needs, and the bounds of the epochs that give them."""
PASSES, LONGEST, LEAST_STEPS = 265, 40, 60
"""For networks with batch norms: epochs at one sample, which fall with the root of their number, and the most of them,
where these make enough steps."""
LONG, LONG_UP_TO = 20, 1000
"""Epochs that such networks get at least, up to so many samples; beyond, as many passes over samples in all."""


class Scale(Spec):
    """What the rule looks at: the number of training samples, the network, and the recipe's optimizer and batch."""

    samples: int | None = None
    """None = not known yet; `REFERENCE` is assumed."""
    batch_size: int = BASE_BATCH
    optimizer: Literal["adamw", "sgd"] = "adamw"
    batch_norms: bool = False
    """Whether the network has batch norms; such ones bear several times the rate of transformers."""

    @property
    def count(self) -> int:
        """Training samples, or what is assumed of them."""
        return self.samples or REFERENCE

    def lr(self, what: str) -> float:
        """Peak rate of the head for `what` trains below it (a key of `BASE`).

        x sqrt(batch / 32) for AdamW (Malladi et al. 2022, arXiv 2205.10287) or x 10 * batch / 32 for SGD with momentum
        (Goyal et al. 2017, arXiv 1706.02677); below a thousand samples x (n / 1000)^(1/4), at least a half: fewer
        samples make noisier gradients, and good features are then worth more than fast ones (Kumar et al. 2022).
        Fresh weights (`scratch`) have nothing to lose, and keep the full rate; so do networks with batch norms whose
        layers train (`NORMED`), measured at 16 to 250 samples (docs/strategies.md).
        """
        batch = self.batch_size / BASE_BATCH
        normed = self.batch_norms and what in ("all", "top")
        size = 1.0 if normed or what == "scratch" else min(1.0, max(0.5, (self.count / REFERENCE) ** 0.25))
        base = NORMED if normed else BASE[what]
        return rounded(base * size * (math.sqrt(batch) if self.optimizer == "adamw" else 10 * batch))

    def epochs(self, factor: float = 1.0) -> int:
        """Passes that make about `factor` x 600 steps, but 3 to 60 x `factor`.

        BiT-HyperRule trains for 500 steps whatever the size up to 20,000 samples, few-sample BERT needs at least 400
        (Zhang et al. 2021, arXiv 2006.05987), and 20 passes (Mosbach et al. 2021); large sets get the usual 3.
        Networks with batch norms, at their higher rate, need fewer where samples are few: 265 / sqrt(n), at most 40,
        and at least 20 up to 1,000 samples, then 20,000 / n, but 3. That is 40 at 44 samples, 20 from 175 to 1,000, 4
        at 5,000; but at least 60 steps are made (docs/strategies.md).
        """
        steps = math.ceil(self.count / self.batch_size)
        if self.batch_norms:
            least = max(FEWEST, min(LONG, LONG * LONG_UP_TO / self.count))
            passes = min(LONGEST, max(least, PASSES / math.sqrt(self.count)))
            return round(max(passes, LEAST_STEPS / steps) * factor)
        return round(min(MOST, max(FEWEST, math.ceil(STEPS / steps))) * factor)

    def stage_epochs(self) -> int:
        """Passes of a phase before the last: a sixth of the last one's."""
        return max(1, self.epochs() // 6)

    def rho(self) -> float:
        """Rate of the lowest group over the head's: 0.1 up to 1,000 samples, 0.3 from 10,000, between them by power."""
        position = min(1.0, max(0.0, math.log10(self.count / 1000)))
        return rounded(0.1 * 3**position)

    def weight_decay(self) -> float:
        """0.05 up to 100 samples, then by 1 / sqrt(n) down to 0.001: what regularises matters where data is short."""
        return rounded(min(0.05, max(0.001, 0.05 * math.sqrt(100 / self.count))))

    def l2_sp(self) -> L2SP:
        """Alpha is 0.1 up to 100 samples, then by 1 / n down to 0.001; beta is 0.01 (the paper's).

        Staying close is worth five points with some four images a class and nothing with thirty (CUB in TLL's table).
        """
        return L2SP(alpha=rounded(min(0.1, max(0.001, 0.1 * 100 / self.count))), beta=0.01)


def rounded(value: float) -> float:
    """To two digits: what a rule of thumb gives is no more exact."""
    return float(f"{value:.2g}")
