"""Yardsticks that our figures are compared with, each implemented plainly."""
