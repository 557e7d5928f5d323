"""Every figure of the book, one module a chapter, in one style. Nothing here computes results."""
