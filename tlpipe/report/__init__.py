"""The self-contained report: one HTML file from what the stages wrote."""
