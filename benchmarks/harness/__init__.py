"""What every figure needs: fresh processes, checks, rows and the tables that are checked in."""
