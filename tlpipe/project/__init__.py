"""Projects: what `tlpipe init` writes, and how a project is checked, run and brought up to date."""
