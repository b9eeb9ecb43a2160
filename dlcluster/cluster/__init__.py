"""What runs at the user's: a cluster on this machine, Ray Jobs over HTTP, the package that travels."""
