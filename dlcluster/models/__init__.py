"""The models a job file can name, and how its own ones are found."""
