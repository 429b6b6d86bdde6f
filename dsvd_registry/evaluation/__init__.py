"""Evaluation: do pictures by what is stored of a fine-tune still look like those by the fine-tune?"""
