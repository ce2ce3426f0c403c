"""Solver of the linear head for image classification: logistic regression."""

from tlpipe.train.heads.linear import Logistic

Problem = Logistic
