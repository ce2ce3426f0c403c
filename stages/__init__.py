"""The stages of dvc.yaml: thin scripts, `python -m stages.<name>`."""
