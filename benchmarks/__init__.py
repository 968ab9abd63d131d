"""What Keyturn costs, against floors of the same run. `make bench` prints tables; nothing here passes or fails."""
