"""Files as every room needs them, whoever wrote them. Imports nothing of ours from above."""
