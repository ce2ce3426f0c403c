"""Solver of the linear head for text classification: logistic regression."""

from tlpipe.train.linear import Logistic

Problem = Logistic
