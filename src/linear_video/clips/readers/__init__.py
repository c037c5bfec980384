"""Readers of files: videos, folders of images, arrays, small NORB, MNIST."""
