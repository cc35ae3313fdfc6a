"""What a pipeline job is made of: bindings, components, the graph of its steps, their progress and their reuse."""
