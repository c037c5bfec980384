"""Video models whose latent state evolves linearly."""

__version__ = "0.1.0"
