"""What to do with this data and this backbone, how sure that is, and why: from frozen features, in seconds."""
