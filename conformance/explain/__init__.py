"""Pages that explain, each computed when it is shown: what a layer computes, and the ways in which people get it wrong.

The texts stand in ``pages``, which import nothing heavy; numbers come from the references and from torch itself.
"""
