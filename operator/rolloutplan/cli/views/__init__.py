"""What a person looks at: each view is a function that makes something to show of objects, a time and a width."""
