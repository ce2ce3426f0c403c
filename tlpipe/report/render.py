"""From the collected facts to one HTML file; whatever a user named is escaped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tlpipe.evaluate.judged import lower_title
from tlpipe.metric_facts import facts as metric_facts
from tlpipe.report import text
from tlpipe.wording import baseline_ahead

HERE = Path(__file__).parent
TASKS = HERE.parent / "tasks"
TILES = ("accuracy", "macro_f1", "ece", "entity_precision", "entity_recall", "exact_match", "answered_f1")
"""Metrics of the champion that the top of the page shows, besides the one that ranks."""


def render(facts: Mapping[str, Any]) -> str:
    """The page for what `collect` returned."""
    environment = Environment(
        loader=FileSystemLoader((HERE, TASKS)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(text.FILTERS)
    css = Markup((HERE / "style.css").read_text(encoding="utf-8"))  # noqa: S704  # our own file
    template = environment.get_template("report.html.j2")
    return template.render(
        **facts,
        css=css,
        headline=headline(facts),
        verdict=verdict(facts),
        transfer=against_scratch(facts) or transfer(facts["advice"]),
        data_sentence=data_sentence(facts["data"]),
        tiles=[name for name in dict.fromkeys((facts["metric"], *TILES)) if name in facts["champion"]["test"]][:3],
    )


def headline(facts: Mapping[str, Any]) -> str:
    """The champion and its figure in a few words."""
    champion, metric = facts["champion"], facts["metric"]
    if facts["comparison"].get("baseline_ahead"):
        return f"TF-IDF is ahead of every network. {_champion(champion, metric)}"
    return _champion(champion, metric)


def _champion(champion: Mapping[str, Any], metric: str) -> str:
    test = champion["test"].get(metric)
    if not test:
        return f"{champion['name']} is the champion"
    return f"{champion['name']}: {text.value(test['value'], metric)} test {lower_title(metric)}"


def verdict(facts: Mapping[str, Any]) -> str:
    """What was compared, who won by how much, and what is too close to call; first of all a baseline that leads."""
    return " ".join([*(f"{each}." for each in baseline_ahead(facts["comparison"])), _verdict(facts)])


def _verdict(facts: Mapping[str, Any]) -> str:
    comparison, champion, metric = facts["comparison"], facts["champion"], facts["metric"]
    named, close = lower_title(metric), comparison["too_close_to_call"]
    count = len(comparison["strategies"])
    if count == 1:
        return f"One strategy ran: {champion['name']}. List more under strategies in params.yaml to compare them."
    means = {name: each["seeds"]["validation"][metric]["mean"] for name, each in comparison["strategies"].items()}
    best, samples = comparison["best"], f"{facts['validation_samples']:,} {facts['held_out']} samples"
    reached = text.value(means[best], metric)
    equal = list(means.values()).count(means[best])
    won = f"Of {count} strategies {best} has the best {facts['held_out']} {named}, {reached}"
    if equal > 1:
        won = (
            f"Of {count} strategies {equal} share the best {facts['held_out']} {named}, {reached}; of these {best} has "
            "the lowest log loss or, where that is equal or not known, the fewest parameters"
        )
    if best != champion["name"]:
        errors = comparison["standard_errors"]
        won += (
            f". {champion['name']} ships: at {text.value(means[champion['name']], metric)} it is within "
            f"{errors:g} standard error{'s' * (errors != 1)} of that, and it is cheaper to serve"
        )
    if not close:
        return f"{won}; the paired interval separates it from every other one."
    also = text.listing([f"{name} ({text.value(means[name], metric)})" for name in close])
    verb = "is" if len(close) == 1 else "are"
    return f"{won}. {also} {verb} too close to {champion['name']} to call on {samples}."


def against_scratch(facts: Mapping[str, Any]) -> str:
    """Whether the pretrained weights helped, champion against the same network trained from random ones, on test.

    Empty where no strategy began with random weights, where the champion did, and where the difference has no interval.
    """
    starts = {strategy["name"]: strategy["plan"]["start"] for strategy in facts["strategies"]}
    champion, metric = facts["champion"]["name"], facts["metric"]
    tested = facts["comparison"].get("test_differences", {})
    fresh = [name for name, start in starts.items() if start == "random" and tested.get(name)]
    if starts[champion] != "head" or not fresh or any(tested[fresh[0]][end] is None for end in ("low", "high")):
        return ""
    ahead = tested[fresh[0]]
    sign = 1 if metric_facts()[metric].higher_is_better else -1
    ends = sorted(sign * ahead[end] for end in ("low", "high"))
    return (
        f"{_helps(ends[0], ends[1])}: {champion} minus {fresh[0]}, the same network without its pretrained weights, is "
        f"{text.difference(ahead, metric)} in test {lower_title(metric)}, paired over {facts['test_samples']:,} "
        "samples."
    )


def _helps(low: float, high: float) -> str:
    if low > 0:
        return "Transfer helps"
    return "Transfer does harm" if high < 0 else "Transfer is in doubt"


def transfer(advice: Mapping[str, Any] | None) -> str:
    """Whether the pretrained weights helped, against the same network with random ones; empty without advice."""
    if not advice or not advice["evidence"]["transfer"]:
        return ""
    seen, gained, named = advice["evidence"], advice["evidence"]["transfer"], advice["title"]
    answer = _helps(gained["low"], gained["high"])
    scores = [text.value(seen[name]["accuracy"], "accuracy") for name in ("all_depths", "random_weights")]
    return (
        f"{answer}: a frozen probe of all depths reaches {named} {scores[0]}, of the same network with random weights "
        f"{scores[1]}; that is {text.difference(gained, 'accuracy')}, paired over {seen['probed']:,} labelled "
        f"{advice['samples']} that the probes had not seen."
    )


def data_sentence(data: Mapping[str, Any]) -> str:
    """How many samples there were and what became of them."""
    used = sum(data["totals"])
    parts = [f"{count:,} for {split}" for split, count in zip(data["splits"], data["totals"], strict=True)]
    found = f"{data['found']:,} labelled samples were found; " if data["found"] else ""
    sentence = f"{found}{used:,} are used: {text.listing(parts)}."
    if data["rejected_total"]:
        sentence += f" {data['rejected_total']:,} {'was' if data['rejected_total'] == 1 else 'were'} rejected."
    if data["left_aside"]:
        sentence += f" {data['left_aside']:,} were left aside by the limit of samples a class."
    if data["imbalance"] and data["imbalance"] >= 1.5:
        sentence += f" The largest class has {data['imbalance']:.1f} times the training samples of the smallest."
    if data["images"]:
        width, height = data["images"]["width"], data["images"]["height"]
        sentence += f" The median raw image is {width['median']:.0f} x {height['median']:.0f} pixels."
    if data["texts"]:
        tokens, cut = data["texts"]["tokens"], data["texts"]["truncated"]
        what = f"{cut:,} of the longer ones were cut off"
        if "windowed" in data["texts"]:
            what = f"{data['texts']['windowed']:,} longer ones are read in several windows"
        sentence += f" The median text has {tokens['median']:.0f} tokens; {what}."
    if data["questions"]:
        about = data["questions"]
        sentence += (
            f" They are about {about['contexts']:,} contexts, the median of {about['tokens']['median']:.0f} tokens, "
            f"in {about['windows']:,} windows; {about['cut']:,} questions were cut off."
        )
        if about["in_no_window"]:
            sentence += f" Of {about['in_no_window']:,} training questions no window holds the whole answer."
    return sentence
