"""The pages: a registry for people, as HTML that a browser reads with or without script.

Each module makes the values of one page, and a template of the same name shows them. Whatever comes from
the registry is text that the templates escape.
"""
