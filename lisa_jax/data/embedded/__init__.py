"""The data sets that come with the package: made on first use, without a download."""
