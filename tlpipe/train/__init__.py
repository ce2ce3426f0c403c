"""The training core: a Plan, packed arrays and a backbone in; weights and records out."""
