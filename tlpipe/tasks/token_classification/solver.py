"""Solver of the linear head for token classification: logistic regression."""

from tlpipe.train.heads.linear import Logistic

Problem = Logistic
