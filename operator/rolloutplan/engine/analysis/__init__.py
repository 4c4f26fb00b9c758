"""What the measurements say: which queries are due, what their answers mean, what is counted."""
