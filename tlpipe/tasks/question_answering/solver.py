"""Solver of the linear head for question answering: two choices a row, the first and the last token of the answer."""

from tlpipe.train.heads.linear import Spans

Problem = Spans
