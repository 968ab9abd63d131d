"""What Keyturn costs, against floors measured in the same run. `make bench` prints tables; nothing here passes or fails."""
