"""The stages as scripts, `python -m stages.NAME`; their code is in tlpipe/stages/, and dvc.yaml runs that."""
