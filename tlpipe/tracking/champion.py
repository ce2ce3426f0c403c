"""The champion as a version in MLflow's model registry; the alias moves only to what is shown to be better.

What decides is what decided the comparison: validation samples, or all labelled ones out of fold. A figure on the test
split never does: the best of several runs on it would be the luckiest one.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tlpipe.tracking.journal import EVIDENCE, MODEL
from tlpipe.tracking.models import KIND
from tlpipe.tracking.snapshot import Snapshot
from tlpipe.tracking.store import RUN_KEY, Remote, model_name

ALIAS = "champion"
FINGERPRINT, METRIC, VALUE, STRATEGY = "tlpipe.evidence", "tlpipe.metric", "tlpipe.value", "tlpipe.strategy"
RESAMPLES, SEED = 1000, 0
"""Of the paired interval that decides."""


def crown(remote: Remote, snapshot: Snapshot) -> str:
    """Register the run's model and let the alias point to it if it is better than who has it now; says what was done.

    A run that is registered already is not registered again; the alias is judged anew, so that nothing depends on
    which of two publishers was first.
    """
    try:
        return _crown(remote, snapshot, snapshot.champion) if snapshot.champion else ""
    except MlflowException as error:
        # a store without a registry must not keep the run itself from being published
        return f"not registered: {error}; the compare stage tries again when it runs"


def _crown(remote: Remote, snapshot: Snapshot, claim: dict[str, Any]) -> str:
    if "evidence" not in claim:
        return "not registered: an older version recorded the claim; the compare stage makes a new one when it runs"
    name, model = model_name(snapshot.experiment), _logged(remote)
    if model is None:
        return "not registered: its model is not in MLflow"
    version = _version(remote, snapshot, name, model, claim)
    holder = _holder(remote, name)
    if holder is not None and holder.version == version.version:
        return f"version {version.version} of {name!r} has the alias {ALIAS!r}"
    against = _against(remote, claim, holder)
    if not against:
        remote.client.set_registered_model_alias(name, ALIAS, version.version)
        return f"version {version.version} of {name!r} has the alias {ALIAS!r} now"
    return f"version {version.version} of {name!r} does not get the alias {ALIAS!r}: {against}"


def _logged(remote: Remote) -> LoggedModel | None:
    query = f"source_run_id = '{remote.run_id}'"
    found = remote.client.search_logged_models([remote.experiment_id], query)
    ready = [model for model in found if str(model.status) == "READY" and model.tags.get(KIND) == MODEL]
    return ready[0] if ready else None


def _version(remote: Remote, snapshot: Snapshot, name: str, model: LoggedModel, claim: dict[str, Any]) -> ModelVersion:
    try:
        remote.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in remote.client.search_model_versions(f"name = '{name}'"):
        known = version.tags
        if known.get(RUN_KEY) == snapshot.run_key and known.get(FINGERPRINT) == claim["evidence"]:
            return version
    tags = {
        RUN_KEY: snapshot.run_key,
        STRATEGY: snapshot.name,
        FINGERPRINT: claim["evidence"],
        METRIC: claim["metric"],
        VALUE: repr(claim["value"]),
    }
    return remote.client.create_model_version(
        name, f"models:/{model.model_id}", run_id=remote.run_id, tags=tags, model_id=model.model_id
    )


def _holder(remote: Remote, name: str) -> ModelVersion | None:
    try:
        return remote.client.get_model_version_by_alias(name, ALIAS)
    except MlflowException:
        return None


def _against(remote: Remote, claim: dict[str, Any], holder: ModelVersion | None) -> str:
    """Why the present holder keeps the alias, and what to do about it; empty when the claim is better."""
    if holder is None:
        return ""
    who = f"version {holder.version} ({holder.tags.get(STRATEGY, 'of unknown origin')})"
    do = "to put the new one in its place, move the alias in MLflow's registry, or delete it and run `dvc repro`"
    if holder.tags.get(FINGERPRINT) != claim["evidence"]:
        return f"{who} was validated on other samples, so the two cannot be compared; {do}"
    if holder.tags.get(METRIC) != claim["metric"]:
        return f"{who} was judged by {holder.tags.get(METRIC)}, not by {claim['metric']}; {do}"
    try:
        return _not_better(remote, claim, holder, who)
    except Exception as error:  # a file that is gone or torn, or a store that does not answer, must not move the alias
        return f"what {who} predicted could not be compared ({type(error).__name__}: {error}); {do}"


def _not_better(remote: Remote, claim: dict[str, Any], holder: ModelVersion, who: str) -> str:
    """What keeps the alias where it is, by what both predicted of the same samples; empty when nothing does."""
    from tlpipe.evaluate.judged import difference, predictions_of

    with TemporaryDirectory() as folder:
        new, old = (
            predictions_of(claim["of"]).load(
                Path(remote.client.download_artifacts(run_id, EVIDENCE, _made(Path(folder, name))))
            )
            for name, run_id in (("new", remote.run_id), ("old", str(holder.run_id)))
        )
    metric = claim["metric"]
    if not new.alike(old):
        return f"{who} was validated on samples of other names or labels; move the alias in MLflow's registry by hand"
    found = difference([new], [old], metric, RESAMPLES, SEED)
    if found.low > 0 if claim["higher_is_better"] else found.high < 0:
        return ""
    return (
        f"{metric} on the same {new.size} validation samples is {old.measure()[metric]:.4f} of {who} and "
        f"{new.measure()[metric]:.4f} of this one, a difference of {found.value:+.4f} [{found.low:+.4f}, "
        f"{found.high:+.4f}] that does not show it to be better"
    )


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)
