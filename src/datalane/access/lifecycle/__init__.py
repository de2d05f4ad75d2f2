"""Demo access: what a workspace's access comes to by what its sources told of it."""
