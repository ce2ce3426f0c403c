"""Solver of the linear head for text classification: logistic regression."""

from tlpipe.train.heads.linear import Logistic

Problem = Logistic
