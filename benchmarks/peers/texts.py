"""BERT fine-tuning beside Hugging Face Trainer: `python -m benchmarks.peers.texts`.

The same weights, texts, epochs, batch, longest length, rate and schedule; every layer trains. The weights are random
and the tokenizer is trained on the training texts, because none are to be had offline: what is compared is the time,
and that both learn equally well from equal starts. tlpipe fits its head first, as it always does, and puts texts of
similar length into a batch. Rounds are interleaved, their order turned. Writes `.tlpipe/bench/results/texts.{json,md}`.
"""

import argparse
import csv
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.peers.environment import FOLDER, ROOT, NotInstalled, python_of
from benchmarks.peers.goals import median
from benchmarks.peers.job import TextJob
from benchmarks.peers.memory import run as watched
from benchmarks.peers.project import Project, StageFailed

WORK, RESULTS = FOLDER / "texts", FOLDER / "results"
SIZES = {"tiny": (2, 128, 2), "mini": (4, 256, 4), "small": (4, 512, 8)}
"""Layers, width and heads of Turc et al. 2019 (arXiv 1908.08962)."""
VOCABULARY = 4000
GOAL = 1 / 1.5
STRATEGY = "bench"
LATE = ("transformers.models.bert.modeling_bert", "transformers.models.auto.modeling_auto", "tokenizers")
"""What the stages import while they work, and Trainer's side before its clock starts."""


def main() -> None:
    """Measure, print and write the table."""
    asked = _arguments()
    counts = lay_out(asked.limit)
    build(asked.size, asked.length)
    numbers = (asked.epochs, asked.batch, asked.length, asked.rate, asked.threads)
    job = TextJob(str(WORK / "texts"), str(WORK / "bert"), *numbers, seed=0, precision=asked.precision)
    runs: dict[str, list[dict[str, Any]]] = {"tlpipe": [], "hf_trainer": []}
    for number in range(asked.rounds):
        for side in sorted(runs, reverse=number % 2 == 0):
            try:
                found = measure(job) if side == "tlpipe" else peer(job)
            except (StageFailed, NotInstalled) as error:
                sys.exit(f"error: {side}: {error}")
            runs[side].append(found)
            took = f"{found['seconds']:.1f} s, validation {found['validation']:.3f}, held out {found['test']:.3f}"
            print(f"round {number + 1} {side}: {took}", flush=True)
    text = table(asked, counts, runs)
    RESULTS.mkdir(parents=True, exist_ok=True)
    found = {"asked": vars(asked), "texts": counts, "job": asdict(job), "load": os.getloadavg(), "runs": runs}
    (RESULTS / "texts.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "texts.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="mini")
    parser.add_argument("--limit", type=int, default=3000, help="training texts (default 3,000 of SST-2's)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64, help="most tokens of a text (default 64)")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto",
                        help="of tlpipe; auto = its own choice here. Trainer runs in fp32, as it comes")  # fmt: skip
    return parser.parse_args()


def lay_out(limit: int) -> dict[str, int]:
    """SST-2 as one headed table a split; its test split is what nobody looks at before the end."""
    source = Path(os.environ.get("TLPIPE_SHARED") or ROOT.parent / "shared") / "data/sst2"
    if not source.is_dir():
        sys.exit(f"error: {source} does not exist; say where the shared folder is with TLPIPE_SHARED=/path/to/shared")
    counts = {}
    (WORK / "texts").mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        with (source / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        rows = rows[: limit if split == "train" else max(64, limit // 4)]
        with (WORK / f"texts/{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *rows])
        counts[split] = len(rows)
    return counts


def build(size: str, length: int) -> None:
    """A folder as transformers writes it: config, seeded random weights, a tokenizer trained on the training texts."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from tlpipe.data.corpus import train_wordpiece

    folder = WORK / "bert"
    folder.mkdir(parents=True, exist_ok=True)
    with (WORK / "texts/train.csv").open(encoding="utf-8", newline="") as file:
        texts = [line["text"] for line in csv.DictReader(file)]
    train_wordpiece(texts, VOCABULARY, True, folder / "tokenizer.json")
    BertTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")).save_pretrained(folder)
    layers, width, heads = SIZES[size]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=length, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def measure(job: TextJob) -> dict[str, Any]:
    """The stages of tlpipe from the tables to the trained model, less their imports. Raises StageFailed."""
    project = Project.make(WORK / "project", parameters(job))
    project.late = LATE
    for stage in ("check", "tokenizer", "prepare", "pretrain", "embed", "head"):
        project.stage(stage)
    project.stage("finetune", STRATEGY)
    project.stage("evaluate", STRATEGY, measured=False)
    scores = json.loads((project.folder / f"reports/evaluation/{STRATEGY}/metrics.json").read_text())
    timing = json.loads((project.folder / f"reports/training/{STRATEGY}/timing.json").read_text())
    return {
        "seconds": sum(project.work_seconds().values()), "stages": project.work_seconds(), "imports": project.imports,
        "validation": scores["validation"]["accuracy"], "test": scores["test"]["accuracy"],
        "precision": timing["precision"], "memory": project.peak.total, "memory_anonymous": project.peak.anonymous,
    }  # fmt: skip


def parameters(job: TextJob) -> dict[str, Any]:
    """recipes/text_classification_bert.yaml with this job's texts, weights and numbers; no duplicates dropped."""
    params: dict[str, Any] = YAML(typ="safe").load(ROOT / "recipes/text_classification_bert.yaml")
    params["tracking"]["enabled"] = False
    splits = {split: f"{split}.csv" for split in ("train", "validation", "test")}
    params["data"]["source"] = {"kind": "text_table", "path": job.texts, "splits": splits}
    params["data"] |= {"split": {"validation": None, "test": None, "seed": 0}, "limit_per_class": None}
    params["data"]["checks"]["near_duplicates"] = None
    params["backbone"] = {"kind": "huggingface", "name": job.bert, "pooling": "pooler", "max_length": job.length}
    params["runtime"] |= {"device": "cpu", "precision": job.precision, "threads": job.threads}
    params["training"] |= {"seed": job.seed, "seeds": 1, "batch_size": job.batch, "weight_decay": job.decay}
    phase = {"name": "all", "epochs": job.epochs, "rates": {"*": job.rate}}
    params["finetune"] = {STRATEGY: {"kind": "phases", "start": "head", "phases": [phase]}}
    params["strategies"] = [STRATEGY]
    return params


def peer(job: TextJob) -> dict[str, Any]:
    """Trainer, in its own environment. Raises StageFailed or NotInstalled."""
    asked, answered, log = (WORK / name for name in ("job.json", "result.json", "hf_text.log"))
    asked.write_text(json.dumps(asdict(job)), encoding="utf-8")
    answered.unlink(missing_ok=True)
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [str(python_of("hf_trainer")), "-m", "benchmarks.peers.with_hf_text", str(asked), str(answered)]
    ran = watched(command, ROOT, {**kept, **hidden}, log)
    if ran.code or not answered.exists():
        raise StageFailed(f"ended with {ran.code}: {log.read_text(errors='replace')[-600:].strip()}")
    found: dict[str, Any] = json.loads(answered.read_text())
    return {**found, "memory": ran.peak.total, "memory_anonymous": ran.peak.anonymous}


def table(asked: argparse.Namespace, counts: dict[str, int], runs: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: a heading line, a row a side, the ratio and whether the goal is met."""
    lines = [
        f"BERT {asked.size}, {', '.join(f'{count:,} {split}' for split, count in counts.items())} texts of SST-2, "
        f"{asked.epochs} epochs, batch {asked.batch}, at most {asked.length} tokens, {asked.threads} threads, CPU, "
        f"tlpipe in {runs['tlpipe'][0]['precision']}, Trainer in fp32, medians of {asked.rounds} interleaved rounds.",
        "", "| side | seconds (each round) | validation | held out | peak MiB (anonymous) |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for side, each in runs.items():
        memory = f"{median(each, 'memory') / 2**20:.0f} ({median(each, 'memory_anonymous') / 2**20:.0f})"
        times = ", ".join(f"{run['seconds']:.1f}" for run in each)
        scores = f"{median(each, 'validation'):.3f} | {median(each, 'test'):.3f}"
        lines.append(f"| {side} | {median(each, 'seconds'):.1f} ({times}) | {scores} | {memory} |")
    ratio = median(runs["tlpipe"], "seconds") / median(runs["hf_trainer"], "seconds")
    worse = median(runs["tlpipe"], "test") < median(runs["hf_trainer"], "test")
    met = "missed: time" if ratio > GOAL else "missed: held-out accuracy" if worse else "met"
    return "\n".join([*lines, "", f"tlpipe / Trainer {ratio:.3f}, goal ≤ {GOAL:.3f}: {met}"])


if __name__ == "__main__":
    main()
