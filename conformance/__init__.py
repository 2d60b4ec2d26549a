"""Does this layer compute what its definition says?"""

__version__ = "0.1.0"
