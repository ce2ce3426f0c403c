"""One optimizer step as a plan wants it: real rates, decay or a pull to the start, low-rank adapters, clipping."""

from typing import Any

import torch
from torch import Tensor, nn

from tlpipe.backbones.lean import step
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.train.hardware.fsdp import share_moments
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training
from tlpipe.train.trainer.loss_scaling import LossScaling
from tlpipe.train.trainer.trainable import Adapters, Pairs, adapted, apply_freeze, layer_groups
from tlpipe.train.trainer.weight_decay import undecayed


class Update:
    """The optimizer of a whole plan, so that moments survive the phases; rates are set a step at a time."""

    def __init__(
        self, model: Classifier, plan: Plan, training: Training, samples: int, scaling: LossScaling | None = None
    ) -> None:
        self.model, self.plan, self.clip = model, plan, training.clip_norm
        self.scaling = scaling or LossScaling(torch.device("cpu"), torch.float32)
        self.adapters: Adapters | None = None
        if plan.lora:
            matrices = [pair for group in model.encoder.groups for pair in adapted(model, group, "lora", plan.lora)]
            self.adapters = Adapters(matrices, plan.lora, training.seed)
        self.parameters = tuple(model.parameters())
        self.start = self._start()
        self.optimizer = self._build(training, training.decay(samples) if plan.l2_sp is None else 0.0)

    def _start(self) -> dict[str, Tensor]:
        if self.plan.l2_sp is None:
            return {}
        return {name: value.detach().clone() for name, value in self.model.encoder.named_parameters()}

    def _build(self, training: Training, weight_decay: float) -> torch.optim.Optimizer:
        """Each layer group gives two parameter groups, with and without weight decay.

        `tlpipe.train.trainer.weight_decay` has the tensors without. What never trains is left out; a plan without
        phases never steps the head's.
        """
        groups: list[dict[str, object]] = []
        exempt = undecayed(self.model.encoder)
        for name, pairs in self._moving():
            for decays in (True, False):
                tensors = [tensor for tensor in pairs if (tensor.ndim > 1 and id(tensor) not in exempt) is decays]
                if tensors:
                    decay = weight_decay if decays else 0.0
                    groups.append({"params": tensors, "layer_group": name, "weight_decay": decay})
        if training.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
        fused = next(self.model.parameters()).device.type in ("cuda", "cpu")
        return torch.optim.AdamW(groups, lr=0.0, fused=fused)

    def _moving(self) -> list[tuple[str, list[nn.Parameter]]]:
        """What trains in some phase, by layer group from the input to the head: adapters' factors, or tensors."""
        found = []
        for group, pairs in layer_groups(self.model):
            kinds = {phase.adapt_of(group) for phase in self.plan.phases} - {None}
            if group == HEAD and not self.plan.phases:
                kinds = {"all"}
            if "lora" in kinds and self.adapters:
                names = [name for name, _ in adapted(self.model, group, "lora", self.plan.lora)]
                found.append((group, self.adapters.of(names)))
            elif kinds:
                norms = kinds == {"norms"}
                found.append((group, _tensors(adapted(self.model, group, "norms", None) if norms else pairs)))
        return found

    def begin(self, phase: Phase) -> None:
        """Freeze what the phase freezes."""
        apply_freeze(self.model, phase, self.plan.lora)
        self.parameters = tuple(self.model.parameters())  # a model that was sharded meanwhile has others

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, phase: Phase, factor: float) -> bool:
        """One step at the phase's peak rates x `factor`, from the gradients that the model has; whether it was made.

        It is not where gradients do not fit into fp16.
        """
        for group in self.optimizer.param_groups:
            # frozen groups have no gradient, so 0 moves nothing
            group["lr"] = (phase.rates[group["layer_group"]] or 0.0) * factor
        return self.scaling.step(self.parameters, self._step)

    def _step(self) -> None:
        self._pull_to_start()
        if self.adapters:
            self.adapters.pull()
        if self.clip is not None:
            _clip([tensor for group in self.optimizer.param_groups for tensor in group["params"]], self.clip)
        step(self.optimizer)
        if self.adapters:
            self.adapters.merge()
            self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _pull_to_start(self) -> None:
        """Add the gradient of the L2-SP penalty (Li et al. 2018): to every tensor that has one, as part of the loss."""
        if self.plan.l2_sp is None:
            return
        for name, parameter in self.model.encoder.named_parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter - self.start[name], alpha=self.plan.l2_sp.alpha)
        for parameter in self.model.head.parameters():
            if parameter.grad is not None and parameter.ndim > 1:
                parameter.grad.add_(parameter, alpha=self.plan.l2_sp.beta)

    def state(self) -> dict[str, Any]:
        """The optimizer's moments, the adapters' factors and the factor of the loss."""
        factors = {} if self.adapters is None else {k: v.detach() for k, v in self.adapters.factors.items()}
        return {"optimizer": self.optimizer.state_dict(), "factors": factors, "scaling": self.scaling.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()` of an update of the same plan and start."""
        self.optimizer.load_state_dict(state["optimizer"])
        share_moments(self.optimizer)
        self.scaling.restore(state["scaling"])
        if self.adapters is not None:
            self.adapters.load(state["factors"])


def _clip(tensors: list[nn.Parameter], most: float) -> None:
    """As `clip_grad_norm_`, but without its pass over all gradients, times 1, where they are short enough already."""
    norm = torch.nn.utils.get_total_norm([tensor.grad for tensor in tensors if tensor.grad is not None])
    # On a GPU to look at the norm would be to wait for it, and one that is shared out is no number yet.
    if type(norm) is not Tensor or norm.device.type != "cpu" or not norm <= most:
        torch.nn.utils.clip_grads_with_norm_(tensors, most, norm)


def _tensors(pairs: Pairs) -> list[nn.Parameter]:
    return [parameter for _, parameter in pairs]
