"""Solver of the linear head for image classification: logistic regression."""

from tlpipe.train.linear import Logistic

Problem = Logistic
