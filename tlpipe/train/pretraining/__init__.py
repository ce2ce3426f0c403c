"""Pretraining of source backbones: rendered letters, BERT (MLM and NSP)."""
