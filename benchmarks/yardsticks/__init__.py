"""What our figures are held against, each implemented plainly and named for what it is."""
