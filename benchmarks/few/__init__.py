"""Few labelled texts: MiniLM under tlpipe's head, SetFit, logistic regression on sentence embeddings, and TF-IDF."""
