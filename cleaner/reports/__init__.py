"""Reports, result files and exports."""
