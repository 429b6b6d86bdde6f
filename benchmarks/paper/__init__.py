"""The tables and figures of the Delta-SVD paper (arXiv 2508.16863), drawn again."""
