"""The pipeline of the book: MyST sources, papermill, Jupyter Book.

Run it from the root of the repository, as ``python -m book.pipeline``; the Makefile does.
"""
