"""A failure as a script that needs nothing of ours: fit to be pasted into a report for torch or onnxruntime."""
