"""What happens inside a model: attribution, features, projections, margins."""
